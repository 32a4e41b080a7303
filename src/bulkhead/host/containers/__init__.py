"""Containers: a client of containerd, the sandbox that containers get, and the service around it."""
