"""The canonical networks, as YAML files: one file a family."""
