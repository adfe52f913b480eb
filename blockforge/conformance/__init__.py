"""The conformance kit: whether what `expand` says of a block is what torch does."""

from __future__ import annotations

from blockforge.conformance.kit import EXAMPLES, check_all, check_block, check_names
from blockforge.conformance.report import Failure, Report
from blockforge.conformance.target import blocks_of, check

__all__ = ["EXAMPLES", "Failure", "Report", "blocks_of", "check", "check_all", "check_block", "check_names"]
