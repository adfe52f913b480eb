"""The checks of a block and its module, each a function of one case; a function's name is its check's."""

from __future__ import annotations

from collections.abc import Callable

from blockforge.conformance import contract_checks as contract
from blockforge.conformance import module_checks as module
from blockforge.conformance.cases import Case

Check = Callable[[Case], None]

CHECKS: dict[str, Check] = {
    check.__name__.rstrip("_"): check
    for check in (
        contract.shape,
        contract.finite,
        contract.parameters,
        contract.macs,
        contract.stride,
        contract.width,
        contract.hash_,
        contract.files,
        module.gradients,
        module.batch_items,
        module.deterministic,
        module.instances,
        module.state_dict,
        module.copies,
        module.source,
        module.moves,
        module.seed,
        module.export,
    )
}
"""By name, in the order in which they run."""
