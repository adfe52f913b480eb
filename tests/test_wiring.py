"""Which stage feeds which."""
