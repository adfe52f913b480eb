"""A search space: its holes, its draws, its mistakes, its identity."""
