"""The image builder: from a variant and its lock to a signed disk image."""
