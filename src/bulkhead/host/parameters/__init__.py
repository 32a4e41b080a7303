"""Parameters of the next start: an entry of the boot loader, which is tried like an update."""
