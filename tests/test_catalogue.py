"""What is listed: years from papers, filters of networks, and what is said where nothing is left."""

from __future__ import annotations

from typing import Any

import pytest

from blockforge import cost, list_networks
from blockforge.catalogue import (
    SECTIONS,
    Filter,
    catalogue,
    catalogue_text,
    networks_matching,
    plugin_record,
    plugins_text,
    year_of,
)
from blockforge.errors import BlockforgeError
from blockforge.plugin_loading import Plugin
from blockforge.registry import Registry, get_registry
from tests.published import PUBLISHED


def networks(pattern: str | None = None, **only: Any) -> list[dict[str, Any]]:
    return catalogue(get_registry(), ["networks"], pattern, Filter(**only))["networks"]


def refusal(pattern: str | None = None, **only: Any) -> str:
    with pytest.raises(BlockforgeError) as caught:
        networks(pattern, **only)
    return str(caught.value)


@pytest.mark.parametrize(
    ("paper", "year"),
    [
        ("arXiv:1512.03385", 2015),
        ("He et al. 2016, arXiv:1603.05027", 2016),
        ("LeCun et al. 1998", 1998),
        ("Krizhevsky et al. 2012", 2012),
        ("a book of 20123 pages", None),
        ("nobody", None),
        ("", None),
    ],
)
def test_the_year_of_a_paper(paper: str, year: int | None) -> None:
    assert year_of(paper) == year


def test_every_network_has_a_year() -> None:
    assert [each["name"] for each in networks() if not each["year"]] == []


def test_a_filter_asks_for_costs_only_where_it_must() -> None:
    assert not Filter().needs_costs
    assert not Filter(family="lenet").needs_costs
    assert Filter(costs=True).needs_costs
    assert Filter(max_params=1.0).needs_costs
    assert Filter(max_macs=0.0).needs_costs  # a limit of 0 is one


def test_a_family_is_one_file_s_networks() -> None:
    assert [each["name"] for each in networks(family="inception")] == ["inception_v3", "inception_v3_aux"]
    families = {each["family"] for each in networks()}
    assert sorted(each["name"] for family in families for each in networks(family=family)) == list_networks()
    assert [each["name"] for each in networks("*_aux", family="inception")] == ["inception_v3_aux"]
    assert not any("params" in each for each in networks(family="lenet"))


def test_costs_are_those_of_the_network_at_its_own_input() -> None:
    for record in networks(family="mobilenet", costs=True):
        shape, params, macs = PUBLISHED[record["name"]]
        assert (tuple(record["input"]), record["params"], record["macs"]) == (shape, params, macs)
        assert record["params"] == cost(record["name"]).params


def test_limits_keep_what_is_within_both() -> None:
    def kept(**limits: float) -> list[str]:
        return [each["name"] for each in networks(family="resnet", **limits)]

    assert kept(max_params=853_018) == ["resnet20", "resnet32", "resnet44", "resnet56"]
    assert kept(max_params=853_017) == ["resnet20", "resnet32", "resnet44"]
    assert kept(max_macs=7e7) == ["resnet20", "resnet32"]
    assert kept(max_params=11_173_962, max_macs=1e8) == ["resnet20", "resnet32", "resnet44"]


def test_nothing_within_the_limits_names_the_smallest() -> None:
    assert refusal("resnet*", family="resnet", max_params=1e5) == (
        "list: none of 22 networks is within the limits; the smallest, resnet20, has 269,722 parameters and "
        "40,551,040 MACs; raise the limits"
    )


def test_an_unknown_family_brings_the_closest_and_all() -> None:
    families = (
        "alexnet, densenet, efficientnet, googlenet, inception, lenet, mobilenet, nin, resnet, senet, shufflenet, vgg"
    )
    assert refusal(family="vg") == f"vg: no family of this name; did you mean 'vgg'? there are {families}"
    assert refusal(family="zzz") == f"zzz: no family of this name; there are {families}"


def test_no_match_within_a_family() -> None:
    assert refusal("zzz", family="vgg") == "zzz: no network matches; `blockforge list` without a pattern lists all"


def test_a_family_that_excludes_what_a_pattern_matches():
    assert refusal("lenet*", family="resnet") == (
        "lenet*: matches 4 networks, but none of the family resnet; they are of lenet; leave out --family"
    )
    assert refusal("*_aux", family="vgg", max_params=5.0) == (
        "*_aux: matches 2 networks, but none of the family vgg; they are of googlenet, inception; leave out --family"
    )


def test_a_pattern_means_the_same_networks_wherever_it_is_given():
    for pattern in ("resnet1", "resnet*", "LENET", "*_[1ax]*", "google"):
        assert sorted(networks_matching(get_registry(), pattern)) == sorted(each["name"] for each in networks(pattern))
    assert networks_matching(get_registry(), None) == [*get_registry().networks]
    with pytest.raises(BlockforgeError) as caught:
        networks_matching(get_registry(), "zzz")
    assert str(caught.value) == "zzz: no network matches; `blockforge list --networks` lists all"


def test_many_names_of_one_hook_are_counted_and_few_are_written_out():
    plugin = Plugin("own", "file", "", "", "own.py", "")
    plugin.hooks = ("register_blocks", "register_networks")
    plugin.registered |= {"blocks": {f"b{i}": None for i in range(10)}, "networks": {f"n{i}": None for i in range(11)}}
    assert (
        plugins_text([plugin], None)
        .splitlines()[-1]
        .endswith("  blocks: b0, b1, b2, b3, b4, b5, b6, b7, b8, b9; 11 networks")
    )
    assert plugin_record(plugin)["registered"]["networks"] == [f"n{i}" for i in range(11)]


def test_the_table_has_the_costs_in_the_place_of_the_idea() -> None:
    found = catalogue(get_registry(), ["networks"], "inception_v3", Filter(family="inception", costs=True))
    assert catalogue_text(found, None) == (
        "family     network           paper             year  input      parameters           MACs\n"
        "---------  ----------------  ----------------  ----  ---------  ----------  -------------\n"
        "inception  inception_v3      arXiv:1512.00567  2015  3x299x299  23,834,568  5,713,216,096\n"
        "           inception_v3_aux  arXiv:1512.00567  2015  3x299x299  27,161,264  5,713,216,096"
    )
    assert [*catalogue(get_registry(), SECTIONS)] == ["networks", "blocks", "spaces"]


def test_a_name_means_that_network_alone():
    registry = get_registry()
    assert networks_matching(registry, "resnet18") == ["resnet18"]
    assert networks_matching(registry, "resnet1") == [name for name in registry.networks if "resnet1" in name]


def test_no_match_where_a_package_failed() -> None:
    registry = Registry()
    registry.plugins.append(Plugin("nets", "package", "acme-nets", "1.0", error="ImportError: no"))
    with pytest.raises(BlockforgeError) as caught:
        catalogue(registry, ["networks"], "zzz")
    assert str(caught.value) == (
        "zzz: no network matches; `blockforge list` without a pattern lists all; plugin nets failed, see "
        "`blockforge plugins`"
    )
