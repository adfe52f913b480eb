"""Which expansions share a class: in no network do two classes differ in numbers alone."""

from __future__ import annotations

import re

import pytest

from blockforge import list_networks, source


@pytest.mark.parametrize("name", list_networks())
def test_no_two_classes_of_a_network_differ_in_numbers_alone(name: str) -> None:
    seen: dict[str, str] = {}
    for text in re.split(r"^(?=class )", source(name), flags=re.MULTILINE)[1:]:
        head, _, body = text.partition(":")
        alike = re.sub(r"\d+(\.\d+)?", "N", body)
        assert alike not in seen, f"{head} and {seen[alike]}"
        seen[alike] = head
