"""The table of a front and its picture, from records made up here."""

from __future__ import annotations

import io

import matplotlib.image
import pytest

from blockforge.study.report import front_picture, front_rows, front_text, write_report
from blockforge.study.run import Run, Trial

WAYS = {"accuracy": "maximize", "macs": "minimize", "latency": "minimize"}
UNITS = {"accuracy": "%", "macs": "MACs", "latency": "ms"}


def made_up(path, *names):
    """Four trials, of which one failed and one is beaten, with values for the objectives named."""
    rows = {0: (0.9, 1000, 1.5), 2: (0.95, 40_000, 2.25), 3: (0.89, 2000, 2.0)}
    trials = []
    for number, row in rows.items():
        values = dict(zip(("accuracy", "macs", "latency"), row, strict=True))
        record = {
            "trial": number,
            "state": "complete",
            "values": {name: values[name] for name in names},
            "metrics": {"accuracy": row[0]},
            "cost": {"params": 10 * row[1], "macs": row[1]},
            "choices": {"layer1.width": 8 * number, "layer2.block": "residual"},
            "seconds": 1.5,
        }
        trials.append(Trial(path, record, {"test_accuracy": row[0] - 0.01} if number != 3 else {}))
    trials.insert(1, Trial(path, {"trial": 1, "state": "failed", "failure": {"kind": "error", "reason": "no"}}))
    settings = {"space": "digits", "objectives": {name: WAYS[name] for name in names}, "units": UNITS}
    return Run(path, settings, tuple(trials))


def test_the_front_as_a_table(tmp_path):
    assert (
        front_text(made_up(tmp_path, "accuracy", "macs"), chosen=True)
        == """\
Front of digits: 2 of 4 trials, 1 of which failed.

| trial | accuracy | test accuracy |   macs |  params | choices                               |
| ----: | -------: | ------------: | -----: | ------: | ------------------------------------- |
|     2 |  95.00 % |       94.00 % | 40,000 | 400,000 | layer1.width=16 layer2.block=residual |
|     0 |  90.00 % |       89.00 % |  1,000 |  10,000 | layer1.width=0 layer2.block=residual  |

Selected by accuracy (maximize), macs (minimize). \
Test accuracy is of a split that the search never saw. \
MACs are multiply-accumulates of convolutions and linear layers, at batch 1."""
    )


def test_the_table_without_choices_and_with_other_objectives(tmp_path):
    heads, rows = front_rows(made_up(tmp_path, "latency"), chosen=False)
    assert heads == ["trial", "latency", "test accuracy", "params", "macs"]
    assert rows == [["0", "1.5", "89.00 %", "10,000", "1,000"]]


@pytest.mark.parametrize("names", [("accuracy",), ("accuracy", "macs"), ("macs", "accuracy", "latency")])
def test_a_picture_for_each_pair_of_objectives(tmp_path, names):
    picture = matplotlib.image.imread(io.BytesIO(front_picture(made_up(tmp_path, *names))))
    height, width, _ = picture.shape
    assert (height, width) == (600, 840 * max(1, len(names) - 1))
    assert len({tuple(colour) for colour in picture[::4, ::4, :3].reshape(-1, 3).tolist()}) > 5


def test_the_report_is_files_in_the_run(tmp_path):
    run = made_up(tmp_path, "accuracy", "macs")
    write_report(run)
    assert (tmp_path / "front.md").read_text() == front_text(run, chosen=True) + "\n"
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
