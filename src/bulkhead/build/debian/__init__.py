"""Debian packages without dpkg: repositories, signatures, resolver, locks, unpacking."""
