"""From settings to files in `/etc` and the services they concern. Pure: nothing is read or written here."""
