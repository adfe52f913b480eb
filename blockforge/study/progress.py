"""What a search shows while it runs, on standard error: a live display on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from blockforge.study.objectives import Objective

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from blockforge.study.run import Trial


@dataclass
class State:
    """How far a search is; the driver keeps it up to date."""

    name: str
    path: str
    total: int
    workers: int
    objectives: Sequence[Objective]
    done: int = 0
    failed: int = 0
    front: int = 0
    best: float | None = None  # in the objective that training finds, or else the first
    device: str = ""
    running: dict[int, dict[str, float]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)  # seconds of the trials that ended in this process

    @property
    def learned(self) -> Objective:
        """The first objective that isn't free."""
        return next((each for each in self.objectives if each.measure is None), self.objectives[0])

    @property
    def seconds_left(self) -> float | None:
        """What the rest will take at the pace so far, running ones half done; None before the first ended."""
        if not self.took:
            return None
        rest = max(0.0, self.total - self.done - len(self.running) / 2)
        return sum(self.took) / len(self.took) * rest / self.workers

    def summary(self) -> str:
        """The state in a line, without the count of trials."""
        best = "-" if self.best is None else self.learned.text(self.best)
        left = "-" if self.seconds_left is None else clock(self.seconds_left)
        return (
            f"running {len(self.running)} · failed {self.failed} · front {self.front} · "
            f"best {self.learned.name} {best} · {left} left"
        )

    def not_trained(self) -> str:
        """How many candidates were not worth a training, by reason; empty if there were none."""
        return ", ".join(f"{count} {kind}" for kind, count in self.refused.most_common())


class Progress(Protocol):
    """Something that shows how a search goes on."""

    def update(self, state: State) -> None:
        """The state has changed."""

    def ended(self, state: State, trial: Trial) -> None:
        """A trial has ended, well or not."""

    def say(self, text: str) -> None:
        """Something that a user should read."""

    def close(self) -> None:
        """Nothing more will come."""


class Silent:
    """Shows nothing."""

    def update(self, state: State) -> None:
        """Nothing."""

    def ended(self, state: State, trial: Trial) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Plain(Silent):
    """A line on standard error for each trial that ended."""

    def ended(self, state: State, trial: Trial) -> None:
        """Print the trial and the state."""
        self.say(f"{trial_line(state, trial)} | {state.summary()}")

    def say(self, text: str) -> None:
        """Print it."""
        print(text, file=sys.stderr, flush=True)


class Display(Plain):
    """A bar, the state and the running trials on a terminal, kept up to date; ended trials scroll by."""

    def __init__(self) -> None:
        """Start showing at the first update."""
        self._live: Live | None = None
        self._state: State | None = None

    def update(self, state: State) -> None:
        """Draw the state anew; the time left goes on by itself."""
        from rich.console import Console
        from rich.live import Live

        self._state = state
        if self._live is None:
            self._live = Live(
                console=Console(stderr=True), get_renderable=self._draw, refresh_per_second=4, transient=True
            )
            self._live.start()

    def ended(self, state: State, trial: Trial) -> None:
        """Print the trial above the display."""
        self.say(trial_line(state, trial))

    def say(self, text: str) -> None:
        """Print it above the display."""
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            super().say(text)

    def close(self) -> None:
        """Take the display away; the lines above it stay."""
        if self._live:
            self._live.stop()
            self._live = None

    def _draw(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        state = self._state
        if state is None:
            return table
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=state.total, completed=state.done, width=30)
        head.add_row(
            Text(state.name, "bold"), bar, f"{state.done}/{state.total}", f"on {state.workers} x {state.device}"
        )
        table.add_row(head)
        table.add_row(Text(state.summary()))
        if state.refused:
            table.add_row(Text(f"not trained: {state.not_trained()}", "dim"))
        for number, metrics in sorted(state.running.items()):
            table.add_row(Text(f"trial {number}  {_metrics(metrics)}", "cyan"))
        return table


def make_progress(show: bool) -> Progress:
    """A live display if standard error is a terminal, plain lines if not, nothing if not wanted."""
    if not show:
        return Silent()
    return Display() if sys.stderr.isatty() else Plain()


def trial_line(state: State, trial: Trial) -> str:
    """`[ 7/24] trial 9: accuracy 97.22 %, macs 1,234,567 (3.1 s)`."""
    place = f"[{state.done:>{len(str(state.total))}}/{state.total}] trial {trial.number}"
    if trial.failure:
        return f"{place}: failed ({trial.failure['kind']}): {trial.failure['reason']}"
    values = ", ".join(f"{each.name} {each.text(trial.values[each.name])}" for each in state.objectives)
    return f"{place}: {values} ({trial.record['seconds']:.1f} s)"


def clock(seconds: float) -> str:
    """`0:42`, `12:05` or `3:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _metrics(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
