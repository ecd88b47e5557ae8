"""Reading a configuration, with one line for everything that is wrong with it."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fedsec.runs.attack_section import AttackSection
from fedsec.runs.config import Flat, RunConfig, described, nested
from fedsec.runs.sections import DefenseSection
from fedsec.runs.wording import explained, missing, named, suggestion

REQUIRED = ("data.dataset", "attack.kind", "defense.strategy")
"""What a run file must say itself. Everything else has a default."""

WITH_UNSET = {"attack": AttackSection, "defense": DefenseSection}
"""Sections some of whose options may be not set."""

_ADAPTER = TypeAdapter(RunConfig)


class ConfigError(ValueError):
    """A configuration cannot be used.

    Attributes:
        problems: one line for each problem; it names the key, what was found, and what would do.
    """

    def __init__(self, problems: Iterable[str], source: str = "") -> None:
        self.problems = list(problems)
        prefix = f"{source}: " if source else ""
        super().__init__("\n".join(prefix + problem for problem in self.problems))


def parse(tables: Mapping[str, Any], *, source: str = "", required: Iterable[str] = ()) -> RunConfig:
    """Return the configuration that nested ``tables`` describe.

    Args:
        tables: ``{"data": {"q": 0.5}, ...}``, as a TOML file reads.
        source: where they come from, named in the error.
        required: keys that must be there.

    Raises:
        ConfigError: unknown, missing or mistyped keys, or values out of range.
    """
    misspelt = _keys_with_underscores(tables)
    problems = [missing(key) for key in required if not _holds(tables, key)]
    problems += [f"{named(key)}: unknown key; {suggestion(key)}" for key in misspelt]
    given = {
        section: _without_unset(section, values, [key.partition(".")[2] for key in misspelt])
        for section, values in tables.items()
    }
    try:
        config = _ADAPTER.validate_python(given)
    except ValidationError as error:
        raise ConfigError([*problems, *explained(error)], source) from None
    if problems:
        raise ConfigError(problems, source)
    return config


def parse_flat(flat: Mapping[str, Any], *, source: str = "") -> RunConfig:
    """Return the configuration that dotted keys describe, as Flower's run config has them."""
    return parse(nested(flat), source=source)


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's tables.

    Raises:
        ConfigError: there is no such file, or it is not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError([f"{error.strerror or error}; give a TOML file"], str(path)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"not TOML: {error}"], str(path)) from None


def load_run_file(path: Path, overrides: Flat | None = None) -> RunConfig:
    """Return the configuration in a run file, with ``overrides`` by dotted key put over it.

    Raises:
        ConfigError: the file or an override cannot be used.
    """
    tables = overridden(read_toml(path), overrides or {})
    for word in ("axes", "published", "title"):
        if word in tables:
            kind = "a figure" if "figure" in tables else "a table of runs"
            raise ConfigError([f"{word}: this is {kind}; use 'fedsec reproduce {path}'"], str(path))
    return parse(tables, source=str(path), required=REQUIRED)


def overridden(tables: Mapping[str, Any], overrides: Flat) -> dict[str, Any]:
    """Return ``tables`` with ``overrides`` by dotted key put over them."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
    for section, values in nested(overrides).items():
        if isinstance(values, dict) and isinstance(merged.get(section, {}), dict):
            merged[section] = merged.get(section, {}) | values
        else:
            merged[section] = values
    return merged


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return key and value of ``key=value``; the value is read as TOML, and as plain text where it is none.

    Raises:
        ConfigError: there is no ``=`` or no key.
    """
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not key:
        raise ConfigError([f"--set {text!r}: expected key=value, such as data.q=0.9"])
    try:
        read = tomllib.loads(f"value = {value.strip()}")
    except (ValueError, RecursionError):
        return key, value.strip()
    return key, read["value"] if len(read) == 1 else value.strip()


def _keys_with_underscores(tables: Mapping[str, Any]) -> list[str]:
    sections = [(name, values) for name, values in tables.items() if isinstance(values, Mapping)]
    return [f"{name}.{key}" for name, values in sections for key in values if "_" in key]


def _without_unset(section: str, values: Any, misspelt: Iterable[str]) -> Any:
    if not isinstance(values, Mapping):
        return values
    # "" is how a run config, which has no null, says that an option of a strategy or a trigger keeps its own default.
    keys = described(WITH_UNSET[section]).items() if section in WITH_UNSET else ()
    unset = {name.replace("_", "-") for name, (default, _) in keys if default is None}
    return {k: v for k, v in values.items() if k not in misspelt and not (v == "" and k in unset)}


def _holds(tables: Mapping[str, Any], key: str) -> bool:
    section, _, name = key.partition(".")
    values = tables.get(section)
    # A section that is no table is a problem of its own, and hides whatever it was to hold.
    return name in values if isinstance(values, Mapping) else section in tables
