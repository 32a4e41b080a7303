"""The API of a node: HTTP on /run/api.sock."""
