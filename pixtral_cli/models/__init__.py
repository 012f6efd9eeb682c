"""Models on this machine and on the hub: names, download, verification, removal."""
