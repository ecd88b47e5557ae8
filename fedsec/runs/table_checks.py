"""What is wrong with a table file, apart from its cells: one line for each mistake."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedsec.runs.config import Scalar, known_keys
from fedsec.runs.defended import defended_problems
from fedsec.runs.measures import MEASURES
from fedsec.runs.values import NAME, NAME_RULE


def covers(values: Mapping[str, Sequence[Scalar]], at: Mapping[str, Scalar]) -> bool:
    """Tell whether a cell ``at`` these values has one of ``values`` on each axis that they name."""
    return all(at[axis] in some for axis, some in values.items())


def combination(entry: Mapping[str, Any]) -> dict[str, list[Scalar]]:
    """Return a ``[[left-out]]`` entry with a list of values for each of its axes."""
    return {key: _as_list(value) for key, value in entry.items()}


def problems_in(content: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the mistakes in a table file.

    Args:
        content: the file, as TOML reads it.
        name: its name, without its ending.
    """
    if not NAME.fullmatch(name):
        yield (
            f"the file's name: found {name!r}, which becomes the name of the folder of runs; "
            f"expected {NAME_RULE}; rename the file"
        )
    if not isinstance(content.get("title"), str):
        yield f"title: found {content.get('title')!r}; expected the table's title as a text"
    axes = content.get("axes")
    if not isinstance(axes, Mapping) or not axes:
        yield f"axes: found {axes!r}; expected a table of keys with lists of values"
        return
    wrong = list(_axis_problems(axes))
    yield from wrong
    yield from _seed_problems(content.get("seeds", 1))
    if not isinstance(content.get("floor", {}), Mapping):
        yield f"floor: found {content['floor']!r}; expected a table of keys and values"
    yield from _reduced_problems(content.get("reduced", {}), axes)
    if wrong:
        return  # what is said of cells cannot be looked at before there are axes
    yield from defended_problems(content.get("defended", {}), axes)
    left_out = content.get("left-out", [])
    wrong = list(_left_out_problems(left_out, axes))
    yield from wrong
    yield from _published_problems(content.get("published", []), axes, [] if wrong else left_out)


def _axis_problems(axes: Mapping[str, Any]) -> Iterator[str]:
    for key, values in axes.items():
        if key not in known_keys():
            yield f"axes: {key!r} is no key of a run"
        if not isinstance(values, list) or not values:
            yield f"axes: {key!r} has {values!r}; expected a list of values"


def _seed_problems(seeds: Any) -> Iterator[str]:
    whole = isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0
    several = isinstance(seeds, list) and seeds and all(isinstance(seed, int) and seed >= 0 for seed in seeds)
    if not whole and not several:
        yield f"seeds: found {seeds!r}; expected how many, or a list of them"


def _reduced_problems(reduced: Any, axes: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(reduced, Mapping):
        yield f"reduced: found {reduced!r}; expected a table of keys and values"
        return
    for key in reduced:
        if key not in known_keys():
            yield f"reduced: {key!r} is no key of a run"
        elif key in axes:
            yield f"reduced: {key!r} is an axis of the table; expected a key that its cells share"


def _left_out_problems(left_out: Any, axes: Mapping[str, list[Scalar]]) -> Iterator[str]:
    if not isinstance(left_out, list):
        yield f"left-out: found {left_out!r}; expected [[left-out]] tables"
        return
    wrong = [
        problem
        for number, entry in enumerate(left_out, start=1)
        for problem in _combination_problems(f"left-out {number}", entry, axes)
    ]
    yield from wrong
    cells = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
    if not wrong and all(_left_out_by(cell, left_out) for cell in cells):
        yield "left-out: found entries that leave out every cell; expected one at least to stay"


def _combination_problems(name: str, entry: Any, axes: Mapping[str, list[Scalar]]) -> Iterator[str]:
    if not isinstance(entry, Mapping) or not entry:
        yield f"{name}: found {entry!r}; expected values on some of the axes {list(axes)}"
        return
    for key, given in entry.items():
        if key not in axes:
            yield f"{name}: {key!r} is not among the axes {list(axes)}"
        elif given == []:
            yield f"{name}: {key} has no value; expected some of the axis {axes[key]}"
        else:
            missing = [value for value in _as_list(given) if value not in axes[key]]
            yield from (f"{name}: {key} = {value!r} is not on the axis {axes[key]}" for value in missing)


def _left_out_by(cell: Mapping[str, Scalar], left_out: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the number of the entry that leaves a cell out, counted from 1, ``None`` where there is none."""
    for number, entry in enumerate(left_out, start=1):
        if covers(combination(entry), cell):
            return number
    return None


def _as_list(value: Any) -> list[Scalar]:
    return list(value) if isinstance(value, list) else [value]


def _published_problems(
    published: Any, axes: Mapping[str, list[Scalar]], left_out: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    if not isinstance(published, list):
        yield f"published: found {published!r}; expected [[published]] tables"
        return
    for number, entry in enumerate(published, start=1):
        at = entry.get("at") if isinstance(entry, Mapping) else None
        if not isinstance(at, Mapping) or set(at) != set(axes):
            yield f"published {number}: at must give a value for each of {sorted(axes)}; found {json.dumps(at)}"
            continue
        for name in set(entry) - {"at"}:
            pair = entry[name]
            numbers = isinstance(pair, list) and len(pair) in (1, 2) and all(isinstance(x, int | float) for x in pair)
            if name not in MEASURES or not numbers:
                names = ", ".join(list(MEASURES)[:-1])
                yield (
                    f"published {number}: found {name} = {pair!r}; "
                    f"expected {names} or {list(MEASURES)[-1]} = [mean, spread], or [mean]"
                )
        for key, value in at.items():
            if value not in axes[key]:
                yield f"published {number}: {key} = {value!r} is not on the axis {axes[key]}"
        if by := _left_out_by(at, left_out):
            yield f"published {number}: this cell is left out by left-out {by}; expected a cell of the table"
