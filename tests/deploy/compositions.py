"""Compose files as Docker Compose reads them, as far as ours go: variables, merged keys, one file over another."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
TARGETS = {
    "fedsec-superlink": "flower-superlink",
    "fedsec-supernode": "flower-supernode",
    "fedsec-superexec": "flower-superexec",
    "fedsec-superexec-gpu": "flower-superexec",
}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<text>[^}]*))?\}")


class _Reset:
    """Stands where ``!reset`` takes away what an earlier file says."""


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!reset", lambda loader, node: _Reset())


def load(*names: str, **variables: str) -> dict[str, Any]:
    """Return the composition that these files make, one over the other, with the values of its variables.

    Raises:
        ValueError: a variable that has to be given is not; the message is the file's own.
    """
    merged: dict[str, Any] = {}
    for name in names:
        parsed = yaml.load((DEPLOY / name).read_text(), _Loader)
        merged = _over(merged, {key: value for key, value in parsed.items() if not key.startswith("x-")})
    return dict(_filled(merged, variables))


def variables_of(name: str) -> set[str]:
    """Return the names of the variables in a file."""
    return {found["name"] for found in VARIABLE.finditer((DEPLOY / name).read_text())}


def program_of(service: Mapping[str, Any]) -> str:
    """Return the program that a service's image starts."""
    return TARGETS[service["image"].partition(":")[0]]


def _over(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    merged = {**under, **{key: _over(under.get(key), value) for key, value in over.items()}}
    return {key: value for key, value in merged.items() if not isinstance(value, _Reset)}


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables) for inner in value]
    return VARIABLE.sub(lambda found: _value(found, variables), value) if isinstance(value, str) else value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["name"] in variables:
        return variables[found["name"]]
    if found["kind"] == ":-":
        return found["text"]
    raise ValueError(found["text"] or found["name"])
