"""How things are measured: process CPU time on one thread, both sides interleaved, the median of the rounds' ratios.

The machines are shared and noisy, so every table has an A/A row: the reference against itself. A claim holds only
where it is larger than that row's distance from 1.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence

Side = Callable[[], object]


def seconds(run: Side, repeats: int = 1) -> float:
    """CPU seconds of one call, over so many in a row."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        for _ in range(repeats):
            run()
        return (time.process_time() - start) / repeats
    finally:
        gc.enable()


def ratio(ours: Side, reference: Side, *, rounds: int = 7, least: float = 0.0) -> tuple[float, float, float]:
    """The median over rounds of ours / reference, and the medians of both in CPU seconds.

    In a round each side is called as often as takes `least` seconds, so that both are measured on a processor that is
    warm for them: a call of a tenth of a millisecond behind a long one would be timed on caches which that one emptied.
    """
    counts = []
    for side in (ours, reference):
        side()
        counts.append(math.ceil(least / seconds(side)) or 1)
    ratios, mine, theirs = [], [], []
    for index in range(rounds):
        if index % 2:
            b = seconds(reference, counts[1])
            a = seconds(ours, counts[0])
        else:
            a = seconds(ours, counts[0])
            b = seconds(reference, counts[1])
        ratios.append(a / b)
        mine.append(a)
        theirs.append(b)
    return statistics.median(ratios), statistics.median(mine), statistics.median(theirs)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, each row when it is there."""
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(" --- " for _ in head) + "|")
    for row in rows:
        print(
            "| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row) + " |",
            flush=True,
        )
