"""The conformance kit: whether what `expand` says of a block is what torch does."""
