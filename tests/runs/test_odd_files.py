"""Whatever stands in a table or a figure file, it can be used or there is one line for each mistake."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedsec.runs.figure import load_figure
from fedsec.runs.loading import ConfigError
from fedsec.runs.table import load_table

BASE: dict[str, Any] = {"data": {"dataset": "digits"}, "attack": {"kind": "none"}, "defense": {"strategy": "fedavg"}}
TABLE: dict[str, Any] = {
    "title": "A table",
    "seeds": 1,
    "axes": {"data.q": [0.1, 0.5], "data.balance": ["none", "cgan"]},
    "floor": {"attack.kind": "none"},
    "reduced": {"data.share": 0.5},
    "left-out": [{"data.q": 0.1, "data.balance": ["cgan"]}],
    "published": [{"at": {"data.q": 0.5, "data.balance": "none"}, "MA": [90.0, 1.0]}],
    **BASE,
}
FIGURE: dict[str, Any] = {
    "title": "A figure",
    "figure": "score",
    "show": {"images": 12, "clients": [0]},
    "published": {"score": 2.5, "features": "Inception"},
    "reduced": {"data.share": 0.5, "show.images": 10},
    **BASE,
    "data": {"dataset": "digits", "balance": "cgan"},
}

leaves = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(allow_nan=True), st.text("ab.-", max_size=3))
keys = st.sampled_from(["at", "MA", "data.q", "data.balance", "data", "show.images", "clients", "score", "x.y", ""])
odd = st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2))


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to everything in nested tables and lists."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in items for place in ((*path, key), *places(value, (*path, key)))]


def problems_of(load: Callable[[Path], object], file: Path) -> list[str]:
    """Return what is wrong with a file: nothing, or at least one thing."""
    try:
        load(file)
    except ConfigError as error:
        return error.problems or [""]
    return []


@pytest.mark.parametrize(("load", "good"), [(load_table, TABLE), (load_figure, FIGURE)])
@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_odd_value_anywhere_is_used_or_refused_with_words(
    load: Callable[[Path], object], good: dict[str, Any], data: st.DataObject, tmp_path: Path
) -> None:
    content = copy.deepcopy(good)
    *way, last = data.draw(st.sampled_from(places(good)))
    inside = content
    for key in way:
        inside = inside[key]
    inside[last] = data.draw(odd)
    file = tmp_path / "odd.toml"
    file.write_text(tomli_w.dumps(content))
    assert all(problem.strip() for problem in problems_of(load, file))


@pytest.mark.parametrize(("load", "good"), [(load_table, TABLE), (load_figure, FIGURE)])
def test_what_is_changed_is_good(load: Callable[[Path], object], good: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "good.toml"
    file.write_text(tomli_w.dumps(good))
    assert problems_of(load, file) == []
