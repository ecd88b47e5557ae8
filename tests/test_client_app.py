"""Every kind of attack has its client, and an unknown one has none."""

from pathlib import Path
from typing import get_args

import pytest
from flwr.app import Context, RecordDict

from fedsec import client_app
from fedsec.client_app import build_client
from fedsec.clients import (
    AllToOneClient,
    BackdoorClient,
    BenignClient,
    EvasiveClient,
    FedGanClient,
    PoisonedGanClient,
    ReconstructionClient,
    UntargetedBackdoorClient,
    UntargetedClient,
)
from fedsec.node_settings import NodeSettings, NodeSettingsError
from fedsec.runs.attack_section import AttackKind
from fedsec.runs.config import flatten
from fedsec.runs.loading import parse
from fedsec.scenario import malicious, pair_of

CLIENTS = {
    "backdoor": BackdoorClient,
    "untargeted": UntargetedClient,
    "untargeted-backdoor": BackdoorClient,
    "stamp": PoisonedGanClient,
    "reconstruction": ReconstructionClient,
}
MODELS = {"stamp": ({"name": "dcgan"}, FedGanClient), "reconstruction": ({"name": "reconstruction"}, BenignClient)}
"""The model of an attack that needs one, and who is honest then."""


@pytest.mark.parametrize("kind", [kind for kind in get_args(AttackKind) if kind != "none"])
def test_the_malicious_clients_of_every_attack_are_of_its_class_and_the_others_honest(kind: str, cache: Path) -> None:
    model, honest = MODELS.get(kind, ({}, BenignClient))
    config = parse({"attack": {"kind": kind}, "model": model, "data": {"size": 16 if kind == "stamp" else 0}})
    for partition in range(config.federation.clients):
        expected = CLIENTS[kind] if partition in malicious(config) else honest
        assert type(build_client(config, partition)) is expected


def test_an_untargeted_backdoor_plants_the_pair_of_its_partition_or_any_labels(cache: Path) -> None:
    run = {"kind": "untargeted-backdoor", "clients": "1 3"}
    pairs = parse({"attack": run})
    for partition in (1, 3):
        client = build_client(pairs, partition)
        assert isinstance(client, BackdoorClient)
        assert (client.source, client.target) == pair_of(pairs, partition, 10)
    assert type(build_client(parse({"attack": run | {"labels": "any"}}), 1)) is UntargetedBackdoorClient


def test_a_backdoor_may_be_of_every_class_and_hide(cache: Path) -> None:
    everything = {"clients": "1 3", "sources": "all", "label-share": 0.3, "target": 2, "trigger": "distributed"}
    client = build_client(parse({"attack": everything}), 3)
    assert isinstance(client, AllToOneClient)
    assert (client.target, client.share, int(client.trigger.mask.sum())) == (2, 0.3, 6)
    hidden = build_client(parse({"attack": everything | {"evasion": "penalty", "evasion-weight": 0.2}}), 3)
    assert isinstance(hidden, EvasiveClient)
    assert (type(hidden.attacker), hidden.weight) == (AllToOneClient, 0.2)
    assert type(build_client(parse({"attack": everything | {"evasion": "penalty"}}), 0)) is BenignClient


def test_a_node_may_hide_where_the_run_does_not_say_so(cache: Path) -> None:
    node = NodeSettings(1, role="attacker", attack={"attack.evasion": "penalty", "attack.sources": "all"})
    client = build_client(ATTACKED, 1, node)
    assert isinstance(client, EvasiveClient)
    assert isinstance(client.attacker, AllToOneClient)


def test_a_kind_of_attack_without_a_client_is_an_error_and_no_backdoor(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_app, "malicious", lambda config: (0,))
    with pytest.raises(ValueError, match=r"attack\.kind 'none' has malicious clients"):
        build_client(parse({"attack": {"kind": "none"}}), 0)


ATTACKED = parse({"attack": {"kind": "backdoor", "clients": "1 3"}, "federation": {"clients": 4}})


def test_a_node_attacks_with_options_of_its_own(cache: Path) -> None:
    node = NodeSettings(1, role="attacker", attack={"attack.target": 2, "attack.start-round": 5})
    client = build_client(ATTACKED, 1, node)
    assert isinstance(client, BackdoorClient)
    assert (client.source, client.target, client.rounds.start) == (0, 2, 5)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (NodeSettings(1, role="honest"), "the run makes partition 1 an attacker"),
        (NodeSettings(0, role="attacker"), "the run does not make partition 0 one"),
        (
            NodeSettings(1, role="attacker", attack={"attack.trigger-size": 99}),
            "attack.trigger-size: found 99",
        ),
        (NodeSettings(1, role="attacker", attack={"attack.source": 10}), "attack.source: found 10"),
    ],
)
def test_a_node_that_cannot_take_part_says_why_when_it_is_asked_who_it_is(
    node: NodeSettings, message: str, cache: Path
) -> None:
    with pytest.raises(NodeSettingsError, match=message):
        client_app._describe(ATTACKED, node)
    with pytest.raises(NodeSettingsError, match=message):
        build_client(ATTACKED, node.partition, node)


def test_a_node_without_a_role_outside_of_a_simulation_is_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(1, 7, {"partition-id": 1}, RecordDict(), flatten(ATTACKED))
    monkeypatch.setattr(client_app, "is_simulated", lambda: True)
    assert client_app._node(context)[1].role is None
    monkeypatch.setattr(client_app, "is_simulated", lambda: False)
    assert client_app._node(context)[1].role == "honest"
