"""What the operator of a node says of it: which partition it holds, its data, its role in an exercise.

Flower hands it to the app as the node's configuration (``flower-supernode --node-config``).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from fedsec.runs.checks import check
from fedsec.runs.config import Flat, RunConfig, flatten, nested
from fedsec.runs.loading import ConfigError, overridden, parse
from fedsec.runs.wording import shown

Role = Literal["honest", "attacker"]

KEYS = ("partition-id", "num-partitions", "data", "role", "state")
ATTACK = "attack."
NOT_A_NODES = ("attack.share", "attack.clients")
"""Who attacks is for the run's configuration to say, not for a node."""


class NodeSettingsError(ValueError):
    """A node's configuration cannot be used; the message names the key, what was found and what would do."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """A node as its operator describes it.

    Attributes:
        partition: which partition it holds.
        data: folder of its data set; "" looks for the run's data set as everywhere.
        role: what it agrees to be, or ``None`` where that was not said.
        state: folder of what its clients keep between rounds; "" is the default one.
        attack: in an exercise, its own attack options over the run's, by dotted key.
    """

    partition: int
    data: str = ""
    role: Role | None = None
    state: str = ""
    attack: Flat = field(default_factory=dict)


def read_node_config(node_config: Mapping[str, object]) -> NodeSettings:
    """Return the settings in a node's configuration. Keys of other apps are let be, misspelt ones are not.

    Raises:
        NodeSettingsError: a key is missing, misspelt or has a value that makes no sense.
    """
    if misspelt := [problem for key in node_config if (problem := suspicion(key))]:
        raise NodeSettingsError(misspelt[0])
    partition = node_config.get("partition-id")
    if not isinstance(partition, int) or isinstance(partition, bool) or partition < 0:
        found = "it is missing" if partition is None else f"found {shown(partition)}"
        raise NodeSettingsError(f"node-config partition-id: {found}; expected a whole number from 0 on")
    role = node_config.get("role")
    if role not in (None, "honest", "attacker"):
        raise NodeSettingsError(f"node-config role: found {shown(role)}; expected 'honest' or 'attacker'")
    folders = {key: node_config.get(key, "") for key in ("data", "state")}
    for key, folder in folders.items():
        if not isinstance(folder, str):
            raise NodeSettingsError(f"node-config {key}: found {shown(folder)}; expected the path of a folder")
    attack = {key: value for key, value in node_config.items() if key.startswith(ATTACK)}
    if attack and role != "attacker":
        raise NodeSettingsError(f"node-config {min(attack)}: found with role {shown(role)}; expected role='attacker'")
    return NodeSettings(partition, str(folders["data"]), role, str(folders["state"]), cast(Flat, attack))


def suspicion(key: str) -> str:
    """Return what is wrong with a key that is none of fedsec's but looks like one, or ""."""
    if key in KEYS or key.startswith(ATTACK):
        return ""
    close = difflib.get_close_matches(key.replace("_", "-"), KEYS, 1, cutoff=0.75)
    return f"node-config {key}: unknown key; did you mean {close[0]}?" if close else ""


def with_own_attack(config: RunConfig, settings: NodeSettings) -> RunConfig:
    """Return the configuration with the node's own attack options put over the run's.

    Raises:
        NodeSettingsError: one of them does not exist, is not a node's to say, or makes no sense.
    """
    if not settings.attack:
        return config
    if forbidden := [key for key in settings.attack if key in NOT_A_NODES]:
        raise NodeSettingsError(f"node-config {forbidden[0]}: it is the run that says who attacks; expected role")
    given: dict[str, Any] = {key: value for key, value in flatten(config).items() if value != ""}
    try:
        own = parse(overridden(nested(given), settings.attack), source="node-config")
        check(own, source="node-config")
    except ConfigError as error:
        raise NodeSettingsError(str(error)) from None
    if own.attack.kind == "none":
        raise NodeSettingsError("node-config attack.kind: found 'none' with role 'attacker'; expected a kind of attack")
    return own


def attacks(malicious: bool, settings: NodeSettings) -> bool:
    """Tell whether a client attacks: in a simulation where the run says so, on a node only where the node agrees.

    A run that poisons an exercise must not poison a federation whose nodes were never asked.

    Args:
        malicious: whether the run's configuration makes the partition malicious.
        settings: of the node; without a role there is none of anybody's, but a simulation.

    Raises:
        NodeSettingsError: run and node disagree.
    """
    if settings.role is None:
        return malicious
    agrees = settings.role == "attacker"
    if malicious and not agrees:
        raise NodeSettingsError(
            f"the run makes partition {settings.partition} an attacker, and the node's role is "
            f"'honest'; expected a run with attack.kind = \"none\" or other attack.clients, or "
            "in an exercise role='attacker' in the node's configuration"
        )
    if agrees and not malicious:
        raise NodeSettingsError(
            f"the node's role is 'attacker', and the run does not make partition {settings.partition} one; expected "
            "role='honest', or the partition in attack.clients of the run"
        )
    return malicious
