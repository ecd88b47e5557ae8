"""Every kind of attack has its client, and an unknown one has none."""

from pathlib import Path
from typing import get_args

import pytest

from fedsec import client_app
from fedsec.client_app import build_client
from fedsec.clients import BackdoorClient, BenignClient, UntargetedClient
from fedsec.runs.config import AttackKind
from fedsec.runs.loading import parse
from fedsec.scenario import malicious

CLIENTS = {"backdoor": BackdoorClient, "untargeted": UntargetedClient}


@pytest.mark.parametrize("kind", [kind for kind in get_args(AttackKind) if kind != "none"])
def test_the_malicious_clients_of_every_attack_are_of_its_class_and_the_others_honest(kind: str, cache: Path) -> None:
    config = parse({"attack": {"kind": kind}})
    for partition in range(config.federation.clients):
        expected = CLIENTS[kind] if partition in malicious(config) else BenignClient
        assert type(build_client(config, partition)) is expected


def test_a_kind_of_attack_without_a_client_is_an_error_and_no_backdoor(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_app, "malicious", lambda config: (0,))
    with pytest.raises(ValueError, match=r"attack\.kind 'none' has malicious clients"):
        build_client(parse({"attack": {"kind": "none"}}), 0)
