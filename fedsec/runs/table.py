"""A table of runs: a base run, the axes along which its cells differ, and the published numbers."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Any

from fedsec.runs.checks import check
from fedsec.runs.config import Flat, RunConfig, Scalar, flatten, known_keys
from fedsec.runs.defended import Defended, defended_of
from fedsec.runs.loading import REQUIRED, ConfigError, overridden, parse, read_toml
from fedsec.runs.measures import MEASURES
from fedsec.runs.record import config_hash
from fedsec.runs.table_checks import combination, covers, problems_in
from fedsec.strategies import STRATEGIES
from fedsec.strategies.build import options_of

NOT_SECTIONS = ("title", "seeds", "axes", "left-out", "floor", "reduced", "published", "defended")


@dataclass(frozen=True, slots=True)
class Published:
    """A published cell.

    Attributes:
        at: value on each axis.
        numbers: mean and spread of each measure; the spread is NaN where none was published.
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
        left_out: combinations of the axes that the table does not have: values on some of them.
        smaller: what is changed in the reduced setting, in which every cell runs on a small machine.
        reduced: whether this is the table in that setting.
        defended: what is told of defended rounds and of time; ``None`` for nothing.
    """

    path: Path
    title: str
    seeds: tuple[int, ...]
    base: dict[str, Any]
    axes: dict[str, list[Scalar]]
    floor: Flat = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    left_out: tuple[dict[str, list[Scalar]], ...] = ()
    smaller: Flat = field(default_factory=dict)
    reduced: bool = False
    defended: Defended | None = None

    @property
    def name(self) -> str:
        """Name of the table's folder of runs."""
        return f"{self.path.stem}{'_reduced' if self.reduced else ''}"

    @property
    def note(self) -> str:
        """What a reader of the reduced table must know, "" of any other."""
        if not self.reduced:
            return ""
        changes = ", ".join(f"{key} = {value}" for key, value in self.smaller.items())
        if "data.dataset" in self.smaller:
            return (
                f"Reduced setting ({changes}): it shows the methods on other data. No accuracy of it can be compared "
                "with a published one, so those are left out."
            )
        return (
            f"Reduced setting ({changes}): it shows that every cell runs, and nothing else. No number of it can be "
            "compared with a published one, so those are left out."
        )

    def as_reduced(self) -> "Table":
        """Return the table in its reduced setting: its cells with what ``smaller`` changes, nothing published.

        Raises:
            ConfigError: the file has no such setting.
        """
        if not self.smaller:
            raise ConfigError(["--reduced: this file has no [reduced] setting"], str(self.path))
        base = overridden(self.base, self.smaller)
        return replace(self, title=f"{self.title} (reduced)", base=base, published=(), reduced=True)

    def cells(self) -> Iterator[Cell]:
        """Yield the cells, the last axis changing fastest; those without an attack come first."""
        for floor in (True, False) if self.floor else (False,):
            for cell in itertools.product(*self.axes.values()):
                at = dict(zip(self.axes, cell, strict=True))
                if not any(covers(values, at) for values in self.left_out):
                    yield Cell(at, floor)

    def config(self, cell: Cell, seed: int, overrides: Flat | None = None) -> RunConfig:
        """Return a cell's configuration: base, axes, ``overrides``, and over all of them what makes a floor.

        The base may hold options of several strategies; each cell keeps those that its own one has.

        Raises:
            ConfigError: the cell cannot be run.
        """
        changes: Flat = {**cell.at, **(overrides or {}), **(self.floor if cell.floor else {})}
        changes |= {"run.seed": seed, "run.name": self.name}
        tables = overridden(self.base, changes)
        source = f"{self.path} ({cell.label()})"
        defense = tables.get("defense", {})
        if isinstance(defense, Mapping):  # else parse will name it
            tables["defense"] = _own_options(defense)
        config = parse(tables, source=source, required=REQUIRED)
        check(config, source=source)
        return config

    def runs(self, seeds: Iterable[int], overrides: Flat | None = None) -> list[tuple[Cell, RunConfig]]:
        """Return every run, the seeds changing slowest, each configuration once.

        Several cells may share their run without an attack, where ``floor`` names the defense too. An axis among the
        ``overrides`` has that value alone.

        Raises:
            ConfigError: a cell cannot be run, or none is left.
        """
        fixed = {key: [value] for key, value in (overrides or {}).items() if key in self.axes}
        cells = list(replace(self, axes=self.axes | fixed).cells())
        found: dict[str, tuple[Cell, RunConfig]] = {}
        for seed in seeds:
            for cell in cells:
                config = self.config(cell, seed, overrides)
                found.setdefault(config_hash(config), (cell, config))
        if not found:
            values = " and ".join(f"{key} = {value}" for key, [value] in fixed.items())
            raise ConfigError([f"the table has no cell{' with ' if values else ''}{values}"], str(self.path))
        return list(found.values())


def load_table(path: Path) -> Table:
    """Return the table in a file, after checking every one of its cells.

    Raises:
        ConfigError: the file cannot be used.
    """
    content = read_toml(path)
    problems = list(problems_in(content, path.stem))
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
        left_out=tuple(combination(entry) for entry in content.get("left-out", [])),
        smaller=dict(content.get("reduced", {})),
        defended=defended_of(content.get("defended", {})),
    )
    unused = _unused_options(table)
    if unused:
        raise ConfigError([f"defense.{key}: no strategy of this table has this option" for key in unused], str(path))
    for setting in (table, table.as_reduced()) if table.smaller else (table,):
        setting.runs(table.seeds[:1])
    return table


def run_folder_name(cell: Cell, config: RunConfig) -> str:
    """Return a name for a cell's run that changes with anything that decides its numbers."""
    words = re.sub(r"[^A-Za-z0-9=.,_-]+", "-", cell.label())[:80]
    return f"{words},seed={config.run.seed}-{config_hash(config)}"


def _own_options(defense: Mapping[str, Any]) -> dict[str, Any]:
    strategy = defense.get("strategy")
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        return dict(defense)  # parse will name it
    own = {key.replace("_", "-") for key in options_of(strategy)} | {"strategy", "batchnorm", "audit"}
    known = {key.partition(".")[2] for key in known_keys() if key.startswith("defense.")}
    return {key: value for key, value in defense.items() if key in own or key not in known}


def _unused_options(table: Table) -> list[str]:
    defense = table.base.get("defense", {})
    base: Any = defense.get("strategy") if isinstance(defense, Mapping) else None
    strategies = table.axes.get("defense.strategy", [base])
    if not all(isinstance(name, str) and name in STRATEGIES for name in strategies):
        return []  # parse will name the unknown one
    used = {key.replace("_", "-") for name in strategies for key in options_of(str(name))}
    given = set(defense) | {k.partition(".")[2] for k in table.axes if k.startswith("defense.")}
    return sorted(given - used - {"strategy", "batchnorm", "audit"})


def _published(entry: Mapping[str, Any]) -> Published:
    pairs = {name: [*map(float, entry[name]), nan][:2] for name in MEASURES if name in entry}
    numbers = {name: (mean, spread) for name, (mean, spread) in pairs.items()}
    return Published(dict(entry["at"]), numbers)


def axis_columns(config: RunConfig, axes: Iterable[str]) -> Flat:
    """Return a configuration's values on the ``axes``."""
    flat = flatten(config)
    return {axis: flat[axis] for axis in axes}
