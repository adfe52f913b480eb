"""Start-up of the command line: CPU time of fresh processes, against `import torch`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from tests.benchmarks.measure import table

COMMANDS = (("--help", 1 / 10), ("list", 1 / 6), ("list --costs", 1 / 3), ("show resnet50", 1 / 4))


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of a process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Print the table; the sides alternate."""

    references, times = [], {words: [] for words, _ in COMMANDS}
    for _ in range(7):
        references.append(cpu_seconds(["-c", "import torch"]))
        for words, _ in COMMANDS:
            times[words].append(cpu_seconds(["-m", "blockforge", *words.split()]))
    torch_time = statistics.median(references)
    rows: list[list[object]] = [["import torch", torch_time * 1e3, 1.0, ""]]
    for words, bar in COMMANDS:
        median = statistics.median(times[words])
        rows.append([f"blockforge {words}", median * 1e3, median / torch_time, f"1/{1 / bar:.0f}"])
    table("A fresh process, CPU time", ["command", "ms", "ratio to import torch", "bar"], rows)


if __name__ == "__main__":
    main()
