"""The search spaces that come with blockforge, as YAML files."""
