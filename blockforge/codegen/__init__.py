"""From a graph to the Python source of its module: structure, lifetime, arguments, text."""
