"""Bulkhead, a container operating system: its builder, its node programs and its command line."""

__version__ = "0.1.0"
