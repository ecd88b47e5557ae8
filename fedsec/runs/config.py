"""The configuration of a run: one clear error for each key that is wrong.

A run is one TOML file. Its tables flatten to the keys of Flower's run config (``data.q``), so the same file serves
``fedsec run``, ``flwr run --run-config`` and a cell of a table.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass as validated

from fedsec.runs.attack_section import AttackSection
from fedsec.runs.sections import (
    GENERATORS,
    DataSection,
    DefenseSection,
    FederationSection,
    FedganSection,
    GanSection,
    ModelSection,
    RunSection,
)
from fedsec.runs.values import SECTION

Scalar = bool | int | float | str
Flat = dict[str, Scalar]


@validated(frozen=True, config=SECTION)
class RunConfig:
    """Everything that decides a run's numbers, but for the engine.

    In Python the keys have underscores: ``RunConfig(federation=FederationSection(local_epochs=1))``.
    """

    run: RunSection = Field(default_factory=RunSection)
    data: DataSection = Field(default_factory=DataSection)
    gan: GanSection = Field(default_factory=GanSection)
    model: ModelSection = Field(default_factory=ModelSection)
    fedgan: FedganSection = Field(default_factory=FedganSection)
    federation: FederationSection = Field(default_factory=FederationSection)
    attack: AttackSection = Field(default_factory=AttackSection)
    defense: DefenseSection = Field(default_factory=DefenseSection)

    @property
    def attacked(self) -> bool:
        """Whether any client is malicious."""
        named, drawn = self.attack.clients != "", round(self.federation.clients * self.attack.share) > 0
        return self.attack.kind != "none" and (named or drawn)

    @property
    def generative(self) -> bool:
        """Whether the federation trains a GAN."""
        return self.model.name in GENERATORS

    @property
    def clients_per_round(self) -> int:
        """How many clients train in a round. :func:`fedsec.runs.checks.check` refuses a share of no client."""
        return round(self.federation.clients * self.federation.fraction)


def described(section: type) -> dict[str, tuple[Any, str]]:
    """Return default and meaning of every key of a section, by the name of its field."""
    infos: dict[str, Any] = {field.name: field.default for field in fields(section)}
    return {name: (info.default, info.description) for name, info in infos.items()}


def flatten(config: RunConfig) -> Flat:
    """Return the configuration as the keys of Flower's run config; an option that is not given is ``""``."""
    flat: Flat = {}
    for section, values in asdict(config).items():
        for key, value in values.items():
            flat[f"{section}.{key.replace('_', '-')}"] = "" if value is None else value
    return flat


def known_keys() -> list[str]:
    """Return every key that a configuration may hold."""
    return list(flatten(RunConfig()))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as tables: ``{"data.q": 0.5}`` as ``{"data": {"q": 0.5}}``."""
    tables: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        if not name:
            tables[key] = dict(value) if isinstance(value, Mapping) else value
        elif isinstance(tables.setdefault(section, {}), dict):  # else it is no table, which is refused later on
            tables[section][name] = value
    return tables
