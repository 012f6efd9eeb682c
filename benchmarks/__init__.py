"""What `make bench` runs: every program on the same weights and the same conversation, interleaved, in one run."""
