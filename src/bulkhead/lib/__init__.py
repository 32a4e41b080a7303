"""Small helpers over the standard library."""
