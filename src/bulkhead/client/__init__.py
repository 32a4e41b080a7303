"""Typed client of a node, used by the command line and by tests."""
