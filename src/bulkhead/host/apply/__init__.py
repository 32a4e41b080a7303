"""Makes settings take effect: files in `/etc`, then the services that read them."""
