"""The Optuna study of a run, in its `study.db`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockforge.errors import BlockforgeError
from blockforge.study.folder import FAILED
from blockforge.study.objectives import Objective

if TYPE_CHECKING:
    from optuna import Study


@contextmanager
def open_study(database: Path, name: str, objectives: Sequence[Objective]) -> Iterator[Study]:
    """The study in a file, made if it isn't there; Optuna's own lines are kept from the user's terminal."""
    import optuna
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            address = URL.create("sqlite", database=str(database.resolve()))
            storage = optuna.storages.RDBStorage(address.render_as_string(hide_password=False))
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=[each.direction for each in objectives],
                load_if_exists=True,
            )
            study.set_metric_names([each.name for each in objectives])
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise BlockforgeError(f"{database}: can't be opened: {reason}; give another --run") from None
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()
        optuna.logging.set_verbosity(loud)


def tell(study: Study, record: Mapping[str, Any], objectives: Sequence[Objective]) -> None:
    """Tell the study what became of a trial, as its `metrics.json` says."""
    from optuna.trial import TrialState

    if record["state"] == FAILED:
        study.tell(record["trial"], state=TrialState.FAIL)
    else:
        study.tell(record["trial"], [record["values"][each.name] for each in objectives])
