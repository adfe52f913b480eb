"""What a search shows while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from blockforge.study.objectives import Objective
from blockforge.study.progress import Display, Plain, Silent, State, clock, make_progress, trial_line
from blockforge.study.run import Trial

OBJECTIVES = (
    Objective("macs", "minimize", "MACs", float),
    Objective("accuracy", "maximize", "%"),
)
RECORD = {"trial": 9, "state": "complete", "values": {"macs": 1234567, "accuracy": 0.97222}, "seconds": 3.14}
FAILURE = {"kind": "out of memory", "reason": "MemoryError: 3 GB", "traceback": ""}


def state(**changes):
    values = {"name": "digits", "path": "runs/digits", "total": 24, "workers": 2, "objectives": OBJECTIVES}
    return State(**values, **changes)


def test_a_line_for_each_trial_on_standard_error(capsys):
    now = state(
        done=7,
        failed=1,
        front=3,
        best=0.9806,
        running={4: {}, 5: {}},
        took=[20.0, 22.5],
    )
    Plain().ended(now, Trial(Path(), RECORD))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "[ 7/24] trial 9: macs 1,234,567, accuracy 97.22 % (3.1 s) | "
        "running 2 · failed 1 · front 3 · best accuracy 98.06 % · 2:50 left\n"
    )


def test_before_the_first_trial_has_ended_nothing_is_guessed():
    assert state().summary() == "running 0 · failed 0 · front 0 · best accuracy - · - left"


def test_a_failed_trial_says_why_in_its_line():
    failed = Trial(Path(), {**RECORD, "state": "failed", "values": {}, "failure": FAILURE})
    assert trial_line(state(done=12), failed) == "[12/24] trial 9: failed (out of memory): MemoryError: 3 GB"


def test_the_display_on_a_terminal_has_the_state_and_the_running_trials():
    display = Display()
    now = state(done=7, running={8: {"step": 3, "accuracy": 0.91}}, device="cpu")
    now.refused["trained already"] += 2
    display._state = now
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(display._draw())
        text = console.export_text()
    for part in (
        "digits",
        "7/24",
        "on 2 x cpu",
        now.summary(),
        "not trained: 2 trained already",
        "trial 8  step 3",
    ):
        assert part in text


def test_the_display_starts_and_ends(capsys):
    display = Display()
    display.update(state())
    display.ended(state(done=1), Trial(Path(), RECORD))
    display.close()
    assert "[ 1/24] trial 9: macs 1,234,567, accuracy 97.22 % (3.1 s)" in capsys.readouterr().err


def test_no_progress_shows_nothing(capsys):
    progress = make_progress(False)
    assert isinstance(progress, Silent)
    assert type(make_progress(True)) is Plain  # pytest's standard error is no terminal
    progress.update(state())
    progress.ended(state(), Trial(Path(), RECORD))
    progress.say("anything")
    progress.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (42.4, "0:42"), (725, "12:05"), (10_800, "3:00:00")])
def test_clock(seconds, text):
    assert clock(seconds) == text
