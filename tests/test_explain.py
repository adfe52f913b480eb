"""What pydantic finds, in the field's terms."""
