"""Programs that run on a node, each in its own systemd service inside the agent tree."""
