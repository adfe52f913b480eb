"""MNASNet: a search that measures latency on a telephone picks kernel, expansion and depth of each stage by itself.

Paper: Tan et al. 2018, arXiv:1807.11626. The blocks are MobileNetV2's; the networks are in mnasnet.yaml.
"""

from __future__ import annotations

from pathlib import Path

from blockforge import hookimpl


@hookimpl
def register_networks() -> list[Path]:
    """The networks beside this file."""
    return [Path(__file__).with_suffix(".yaml")]
