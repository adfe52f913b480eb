"""The scaffold: what `blockforge new-block` writes, a block's file or a package with its tests."""

from blockforge.scaffold.writing import Scaffold, new_block

__all__ = ["Scaffold", "new_block"]
