"""The objectives of a search: accuracy is learned by training; the costs are free and exact."""

from __future__ import annotations

from collections.abc import Sequence

import blockforge
from blockforge import hookimpl
from blockforge.study.objectives import Objective

OBJECTIVES = (
    Objective("accuracy", "maximize", "%"),  # on the validation split
    Objective("params", "minimize", "parameters", lambda network: blockforge.cost(network).params),
    Objective("macs", "minimize", "MACs", lambda network: blockforge.cost(network).macs),
    Objective("activations", "minimize", "elements", lambda network: blockforge.cost(network).activations),
    Objective("peak_memory", "minimize", "bytes", lambda network: blockforge.cost(network).peak_memory),
)


@hookimpl
def register_objectives() -> Sequence[Objective]:
    """Accuracy, parameters, MACs, activations and peak memory."""
    return list(OBJECTIVES)
