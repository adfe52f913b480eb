"""Where plugins come from, and what becomes of faulty ones."""
