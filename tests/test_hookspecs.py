"""The hooks of a plugin."""
