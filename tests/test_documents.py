"""Files of networks: extends, merging, edits, and where each mistake is."""
