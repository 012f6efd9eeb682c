"""Many questions, one load of the weights: rows in, a line of answer for each out. Shows nothing, knows no flags."""
