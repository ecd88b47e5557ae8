"""A node is what its operator says it is, and attacks only where run and operator agree."""

from typing import Any

import pytest

from fedsec.node_settings import NodeSettings, NodeSettingsError, attacks, read_node_config, with_own_attack
from fedsec.runs.loading import parse

FULL = {"partition-id": 3, "num-partitions": 5, "data": "/srv/data", "role": "attacker", "state": "/var/lib/x"}


def test_every_key_is_read() -> None:
    found = read_node_config(FULL | {"attack.label-share": 0.5})
    assert found == NodeSettings(3, "/srv/data", "attacker", "/var/lib/x", {"attack.label-share": 0.5})


def test_keys_of_other_apps_are_let_be() -> None:
    assert read_node_config({"partition-id": 0, "hospital": "north", "gpu": True}) == NodeSettings(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"partition-id": None}, "node-config partition-id: it is missing; expected a whole number from 0 on"),
        ({"partition-id": "2"}, "node-config partition-id: found '2'; expected a whole number from 0 on"),
        ({"partition-id": True}, "node-config partition-id: found True; expected a whole number from 0 on"),
        ({"partition-id": -1}, "node-config partition-id: found -1; expected a whole number from 0 on"),
        ({"role": "attaker"}, "node-config role: found 'attaker'; expected 'honest' or 'attacker'"),
        ({"data": 5}, "node-config data: found 5; expected the path of a folder"),
        ({"rol": "attacker"}, "node-config rol: unknown key; did you mean role?"),
        ({"partition_id": 1}, "node-config partition_id: unknown key; did you mean partition-id?"),
        (
            {"role": "honest", "attack.source": 1},
            "node-config attack.source: found with role 'honest'; expected role='attacker'",
        ),
    ],
)
def test_what_makes_no_sense_is_one_error_that_names_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeSettingsError) as refusal:
        read_node_config({"partition-id": 0} | changes)
    assert str(refusal.value) == message


def test_in_a_simulation_the_run_alone_says_who_attacks() -> None:
    assert attacks(True, NodeSettings(0))
    assert not attacks(False, NodeSettings(0))


def test_a_node_attacks_where_it_agrees() -> None:
    assert attacks(True, NodeSettings(0, role="attacker"))
    assert not attacks(False, NodeSettings(0, role="honest"))


@pytest.mark.parametrize(("malicious", "role"), [(True, "honest"), (False, "attacker")])
def test_a_node_that_does_not_agree_with_the_run_takes_no_part(malicious: bool, role: Any) -> None:
    with pytest.raises(NodeSettingsError, match=f"role is '{role}'"):
        attacks(malicious, NodeSettings(1, role=role))


def test_a_node_has_attack_options_of_its_own() -> None:
    config = parse({"attack": {"kind": "backdoor", "share": 0.4, "target": 3}})
    own = with_own_attack(
        config, NodeSettings(0, role="attacker", attack={"attack.target": 5, "attack.trigger-size": 2})
    )
    assert (own.attack.target, own.attack.trigger_size) == (5, 2)
    assert own.data == config.data
    assert with_own_attack(config, NodeSettings(0)) == config


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"attack.share": 0.5}, "node-config attack.share: it is the run that says who attacks"),
        ({"attack.clients": "1"}, "node-config attack.clients: it is the run that says who attacks"),
        ({"attack.sorce": 1}, "node-config: attack.sorce: unknown key; did you mean attack.source?"),
        ({"attack.source": "one"}, "node-config: attack.source: found 'one'; expected an integer"),
        ({"attack.source": 6}, "node-config: attack.target: found 6, which is the source"),
        ({"attack.kind": "none"}, "node-config attack.kind: found 'none' with role 'attacker'"),
    ],
)
def test_an_attack_option_that_cannot_be_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeSettingsError) as refusal:
        with_own_attack(parse({}), NodeSettings(0, role="attacker", attack=option))
    assert str(refusal.value).startswith(message)
