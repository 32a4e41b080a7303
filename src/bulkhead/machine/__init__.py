"""Virtual machines on the workstation: start, watch, reach and stop them."""
