"""Tells a server how the node is, if settings name one."""
