"""What remains of a search for people to read: the table of the front, and its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from blockforge.study.folder import write
from blockforge.study.objectives import Objective

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Formatter, Locator

    from blockforge.study.run import Run, Trial

TEST = Objective("test_accuracy", "maximize", "%")
CHOICES = "choices"
NOTE = "MACs are multiply-accumulates of convolutions and linear layers, at batch 1."


def front_record(run: Run) -> dict[str, Any]:
    """The front as JSON has it: each trial's values, metrics and choices, and the file of its network."""
    front = [
        {
            "trial": trial.number,
            "values": dict(trial.values),
            "metrics": trial.metrics,
            "choices": dict(trial.record["choices"]),
            "network": str(trial.folder / "network.yaml"),
        }
        for trial in run.front
    ]
    objectives = {each.name: each.direction for each in run.objectives}
    counts = {"trials": len(run), "failed": len(run.failed)}
    return {"space": run.name, "run": str(run.path), "objectives": objectives, **counts, "front": front}


def front_rows(run: Run, *, chosen: bool = True) -> tuple[list[str], list[list[str]]]:
    """The front as a table: heads, and a row for each trial, the best in the first objective first.

    With `chosen` the last column says what was drawn for the trial.
    """
    columns = list(run.objectives)
    if any(TEST.name in trial.metrics for trial in run.front):
        columns.insert(1, TEST)
    known = {objective.name for objective in columns}
    costs = [Objective(name, "minimize") for name in ("params", "macs") if name not in known]
    heads = ["trial", *(_head(objective) for objective in columns), *(cost.name for cost in costs), CHOICES]
    rows = [
        [str(trial.number), *(_cell(objective, trial) for objective in [*columns, *costs]), choices(trial)]
        for trial in run.front
    ]
    return (heads, rows) if chosen else (heads[:-1], [row[:-1] for row in rows])


def choices(trial: Trial) -> str:
    """What was drawn for a trial: `layer1.depth=2 layer1.width=16 ...`."""
    return " ".join(f"{name}={value}" for name, value in trial.record["choices"].items())


def front_text(run: Run, *, chosen: bool = False) -> str:
    """The front as a Markdown table, readable as it is, with how many trials it is the best of."""
    heads, rows = front_rows(run, chosen=chosen)
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if head == CHOICES else cell.rjust(width)
            for head, cell, width in zip(heads, cells, widths, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = line(
        ["-" * width if head == CHOICES else "-" * (width - 1) + ":" for head, width in zip(heads, widths, strict=True)]
    )
    failed = f", {len(run.failed)} of which failed" if run.failed else ""
    title = f"Front of {run.name}: {len(run.front)} of {len(run)} trials{failed}."
    selected = ", ".join(f"{each.name} ({each.direction})" for each in run.objectives)
    test = (
        " Test accuracy is of a split that the search never saw."
        if TEST.name in " ".join(heads).replace(" ", "_")
        else ""
    )
    return "\n".join([title, "", line(heads), rule, *map(line, rows), "", f"Selected by {selected}.{test} {NOTE}"])


def write_report(run: Run) -> None:
    """Write `front.md` and `front.png` into the run's folder."""
    write(run.path / "front.md", f"{front_text(run, chosen=True)}\n")
    write(run.path / "front.png", front_picture(run))


def front_picture(run: Run) -> bytes:
    """A PNG: all trials and the front, the first objective over each of the others, or over the trials."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first, *others = run.objectives
    figure = Figure(figsize=(7.0 * max(1, len(others)), 5.0), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever backend the user has chosen
    for place, other in enumerate(others or [None]):
        _draw(figure.add_subplot(1, max(1, len(others)), place + 1), run, first, other)
    figure.suptitle(f"{run.name}: {len(run.front)} of {len(run)} trials on the front")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _draw(axes: Axes, run: Run, vertical: Objective, horizontal: Objective | None) -> None:
    def point(trial: Trial) -> tuple[float, float]:
        across = trial.number if horizontal is None else trial.values[horizontal.name]
        return across, trial.values[vertical.name]

    front = {trial.number for trial in run.front}
    beaten = [point(trial) for trial in run if trial.complete and trial.number not in front]
    best = sorted(point(trial) for trial in run.front)
    if beaten:
        axes.scatter(*_columns(beaten), s=28, color="#9aa5b1", label="beaten")
    axes.scatter(*_columns(best), s=44, color="#d1495b", zorder=3, label="front")
    if horizontal is not None and len(run.objectives) == 2:
        where: Literal["post", "pre"] = "post" if horizontal.direction == "minimize" else "pre"
        axes.step(*_columns(best), where=where, color="#d1495b", linewidth=1.2, alpha=0.6, zorder=2)
    tests = [(point(trial)[0], trial.metrics[TEST.name]) for trial in run.front if TEST.name in trial.metrics]
    if tests and vertical.name == "accuracy":
        axes.scatter(*_columns(tests), s=44, marker="x", color="#30638e", zorder=3, label="front, on the test split")
    for trial in run.front:
        axes.annotate(
            str(trial.number), point(trial), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_ylabel(_label(vertical))
    axes.set_xlabel("trial" if horizontal is None else _label(horizontal))
    if horizontal is not None:
        low, high = min(x for x, _ in beaten + best), max(x for x, _ in beaten + best)
        if low > 0 and high / low > 20:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(_one_two_five())
            axes.xaxis.set_minor_formatter("")
        axes.xaxis.set_major_formatter(_engineering())
    if vertical.unit == "%":
        axes.yaxis.set_major_formatter(_percent())
    else:
        axes.yaxis.set_major_formatter(_engineering())
    axes.grid(alpha=0.25)
    axes.legend(loc="best", fontsize=8)


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _one_two_five() -> Locator:
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1, 2, 5))


def _engineering() -> Formatter:
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep=" ")


def _percent() -> Formatter:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(xmax=1, decimals=None)


def _label(objective: Objective) -> str:
    arrow = "higher" if objective.direction == "maximize" else "lower"
    split = ", validation split" if objective.name == "accuracy" else ""
    return f"{objective.title}{split} ({arrow} is better)"


def _head(objective: Objective) -> str:
    return objective.name.replace("_", " ")


def _cell(objective: Objective, trial: Trial) -> str:
    value = trial.metrics.get(objective.name, trial.values.get(objective.name))
    return "-" if value is None else objective.text(value)
