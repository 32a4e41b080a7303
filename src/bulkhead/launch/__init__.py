"""What runs before anything is installed: makes the Python environment and enters it."""
