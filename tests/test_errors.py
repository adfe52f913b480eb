"""The kinds of errors, and the closest names for an unknown one."""

from __future__ import annotations

import pytest

from blockforge import errors
from blockforge.errors import BlockforgeError, InvalidNetwork, NothingToCompare, SearchError, did_you_mean, unknown


def test_every_error_is_a_blockforge_error_with_an_exit_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, BlockforgeError) for kind in kinds)
    assert {kind: kind.exit_code for kind in kinds if kind.exit_code != 2} == {NothingToCompare: 1, SearchError: 1}


def test_an_invalid_network_has_its_mistakes_one_a_line():
    error = InvalidNetwork(mistake for mistake in ("a: wrong", "b: wrong too"))
    assert error.mistakes == ("a: wrong", "b: wrong too")
    assert str(error) == "a: wrong\nb: wrong too"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet81", "; did you mean 'resnet18' or 'resnet50'?"),
        ("resnet", "; did you mean 'resnet50', 'resnet18' or 'alexnet'?"),
        ("net18", "; did you mean 'resnet18'?"),
        ("RESNET18", "; did you mean 'resnet18'?"),
        ("vgg", "; did you mean 'vgg16_bn'?"),
        ("transformer", ""),
        ("", ""),
    ],
)
def test_the_closest_names(name, hint):
    assert did_you_mean(name, ["resnet50", "resnet18", "vgg16_bn", "alexnet", "resnet18"]) == hint


def test_at_most_three_names_come_back():
    assert did_you_mean("ab", ["ab1", "ab2", "ab3", "ab4"]).count("'ab") == 3


def test_an_unknown_name_tells_how_to_list_all():
    error = unknown("network", "lenet", ["lenet5"], "`blockforge list` lists all")
    assert str(error) == "lenet: no network of this name; did you mean 'lenet5'? `blockforge list` lists all"
    error = unknown("network", "bert", ["lenet5"], "`blockforge list` lists all")
    assert str(error) == "bert: no network of this name; `blockforge list` lists all"
    assert error.exit_code == 2
