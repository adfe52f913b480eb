"""The one grammar of paths."""
