"""A table of runs: a base run, the axes along which its cells differ, and the published numbers."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedsec.runs.checks import check
from fedsec.runs.config import NAME, NAME_RULE, Flat, RunConfig, Scalar, flatten, known_keys
from fedsec.runs.loading import REQUIRED, ConfigError, overridden, parse, read_toml
from fedsec.runs.record import config_hash
from fedsec.strategies import STRATEGIES
from fedsec.strategies.build import options_of

NOT_SECTIONS = ("title", "seeds", "axes", "floor", "published")
MEASURES = ("MA", "BA")


@dataclass(frozen=True, slots=True)
class Published:
    """A published cell.

    Attributes:
        at: value on each axis.
        numbers: mean and spread of each measure.
    """

    at: Flat
    numbers: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        at: value on each axis.
        floor: whether this is the same cell with nobody attacking.
    """

    at: Flat
    floor: bool = False

    def label(self) -> str:
        """Return the cell's values in words, for folders and progress."""
        text = ",".join(f"{key.partition('.')[2]}={value}" for key, value in self.at.items())
        return f"{text},no-attack" if self.floor else text


@dataclass(frozen=True, slots=True)
class Table:
    """A table file.

    Attributes:
        path: the file.
        title: what the table is called.
        seeds: seeds of the runs of each cell.
        base: the tables of the base run.
        axes: values of each key that the cells differ in.
        floor: what is changed to measure a cell without an attack; empty for no such runs.
        published: the published cells.
    """

    path: Path
    title: str
    seeds: tuple[int, ...]
    base: dict[str, Any]
    axes: dict[str, list[Scalar]]
    floor: Flat = field(default_factory=dict)
    published: tuple[Published, ...] = ()

    @property
    def name(self) -> str:
        """Name of the table's folder of runs."""
        return self.path.stem

    def cells(self) -> Iterator[Cell]:
        """Yield the cells, the last axis changing fastest; those without an attack come first."""
        for floor in (True, False) if self.floor else (False,):
            for values in itertools.product(*self.axes.values()):
                yield Cell(dict(zip(self.axes, values, strict=True)), floor)

    def config(self, cell: Cell, seed: int, overrides: Flat | None = None) -> RunConfig:
        """Return a cell's configuration: base, axes, floor, then ``overrides``.

        The base may hold options of several strategies; each cell keeps those that its own one has.

        Raises:
            ConfigError: the cell cannot be run.
        """
        changes: Flat = {**cell.at, **(self.floor if cell.floor else {}), **(overrides or {})}
        changes |= {"run.seed": seed, "run.name": self.name}
        tables = overridden(self.base, changes)
        source = f"{self.path} ({cell.label()})"
        defense = dict(tables.get("defense", {}))
        config = parse(tables | {"defense": _own_options(defense)}, source=source, required=REQUIRED)
        check(config, source=source)
        return config

    def runs(self, seeds: Iterable[int], overrides: Flat | None = None) -> list[tuple[Cell, RunConfig]]:
        """Return every run, the seeds changing slowest, each configuration once.

        Several cells may share their run without an attack, where ``floor`` names the defense too.
        """
        found: dict[str, tuple[Cell, RunConfig]] = {}
        for seed in seeds:
            for cell in self.cells():
                config = self.config(cell, seed, overrides)
                found.setdefault(config_hash(config), (cell, config))
        return list(found.values())


def load_table(path: Path) -> Table:
    """Return the table in a file, after checking every one of its cells.

    Raises:
        ConfigError: the file cannot be used.
    """
    content = read_toml(path)
    problems = list(_problems(content))
    if not NAME.fullmatch(path.stem):
        problems.insert(
            0,
            f"the file's name: found {path.stem!r}, which becomes the name of the folder of runs; "
            f"expected {NAME_RULE}; rename the file",
        )
    if problems:
        raise ConfigError(problems, str(path))
    base = {key: value for key, value in content.items() if key not in NOT_SECTIONS}
    seeds = content.get("seeds", 1)
    table = Table(
        path=path,
        title=content["title"],
        seeds=tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
        base=base,
        axes={key: list(values) for key, values in content["axes"].items()},
        floor=dict(content.get("floor", {})),
        published=tuple(_published(entry) for entry in content.get("published", [])),
    )
    unused = _unused_options(table)
    if unused:
        raise ConfigError([f"defense.{key}: no strategy of this table has this option" for key in unused], str(path))
    table.runs(table.seeds[:1])
    return table


def run_folder_name(cell: Cell, config: RunConfig) -> str:
    """Return a name for a cell's run that changes with anything that decides its numbers."""
    words = re.sub(r"[^A-Za-z0-9=.,_-]+", "-", cell.label())[:80]
    return f"{words},seed={config.run.seed}-{config_hash(config)}"


def _own_options(defense: Mapping[str, Any]) -> dict[str, Any]:
    strategy = defense.get("strategy")
    if strategy not in STRATEGIES:
        return dict(defense)  # parse will name it
    own = {key.replace("_", "-") for key in options_of(strategy)} | {"strategy", "batchnorm"}
    known = {key.partition(".")[2] for key in known_keys() if key.startswith("defense.")}
    return {key: value for key, value in defense.items() if key in own or key not in known}


def _unused_options(table: Table) -> list[str]:
    strategies = table.axes.get("defense.strategy", [table.base.get("defense", {}).get("strategy", "")])
    if not set(strategies) <= set(STRATEGIES):
        return []  # parse will name the unknown one
    used = {key.replace("_", "-") for name in strategies for key in options_of(str(name))}
    given = set(table.base.get("defense", {})) | {k.partition(".")[2] for k in table.axes if k.startswith("defense.")}
    return sorted(given - used - {"strategy", "batchnorm"})


def _published(entry: Mapping[str, Any]) -> Published:
    numbers = {name: (float(entry[name][0]), float(entry[name][1])) for name in MEASURES if name in entry}
    return Published(dict(entry["at"]), numbers)


def _problems(content: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(content.get("title"), str):
        yield f"title: found {content.get('title')!r}; expected the table's title as a text"
    axes = content.get("axes")
    if not isinstance(axes, Mapping) or not axes:
        yield f"axes: found {axes!r}; expected a table of keys with lists of values"
        return
    for key, values in axes.items():
        if key not in known_keys():
            yield f"axes: {key!r} is no key of a run"
        if not isinstance(values, list) or not values:
            yield f"axes: {key!r} has {values!r}; expected a list of values"
    seeds = content.get("seeds", 1)
    whole = isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 0
    several = isinstance(seeds, list) and seeds and all(isinstance(seed, int) and seed >= 0 for seed in seeds)
    if not whole and not several:
        yield f"seeds: found {seeds!r}; expected how many, or a list of them"
    if not isinstance(content.get("floor", {}), Mapping):
        yield f"floor: found {content['floor']!r}; expected a table of keys and values"
    yield from _published_problems(content.get("published", []), axes)


def _published_problems(published: Any, axes: Mapping[str, Any]) -> Iterator[str]:
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
            numbers = isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair)
            if name not in MEASURES or not numbers:
                yield f"published {number}: found {name} = {pair!r}; expected MA or BA = [mean, spread]"
        for key, value in at.items():
            if isinstance(axes[key], list) and value not in axes[key]:
                yield f"published {number}: {key} = {value!r} is not on the axis {axes[key]}"


def axis_columns(config: RunConfig, axes: Iterable[str]) -> Flat:
    """Return a configuration's values on the ``axes``."""
    flat = flatten(config)
    return {axis: flat[axis] for axis in axes}
