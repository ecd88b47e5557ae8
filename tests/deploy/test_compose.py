"""What the compose files promise, service by service: keys on, nothing writable, nothing without a limit."""

import re
import shlex
from typing import Any

import pytest

from tests.deploy.compositions import DEPLOY, load, program_of, variables_of

NEEDED = {
    "FEDSEC_DATA_FOLDER": "/srv/images",
    "FEDSEC_SUPERLINK": "fedsec.example.org:8000",
    "FEDSEC_NODE_CONFIG": 'partition-id=0 data="/srv/fedsec/data"',
    "FEDSEC_NODE_KEY": "./keys/hospital-1.key",
}
FILES = {
    "server": ("compose.server.yml",),
    "node": ("compose.node.yml",),
    "node with GPU": ("compose.node.yml", "compose.gpu.yml"),
    "one host": ("compose.one-host.yml",),
    "insecure": ("compose.one-host.yml", "compose.insecure.yml"),
}
SERVICES = [(case, name) for case, files in FILES.items() for name in load(*files, **NEEDED)["services"]]


def service_of(case: str, name: str) -> dict[str, Any]:
    return dict(load(*FILES[case], **NEEDED)["services"][name])


def is_size(text: str) -> bool:
    return re.fullmatch(r"[1-9]\d*[mg]", text) is not None


@pytest.mark.parametrize(("case", "name"), SERVICES)
def test_a_service_is_locked_up(case: str, name: str) -> None:
    service = service_of(case, name)
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"} & set(service)
    assert all("noexec" in mount or "nosuid" in mount for mount in service["tmpfs"])


@pytest.mark.parametrize(("case", "name"), SERVICES)
def test_a_service_has_limits_and_a_health_check_and_comes_back(case: str, name: str) -> None:
    service = service_of(case, name)
    assert is_size(service["mem_limit"])
    assert service["pids_limit"] > 0
    assert service["restart"] == "unless-stopped"
    assert service["init"] is True
    assert service["logging"]["driver"] == "json-file"
    assert is_size(service["logging"]["options"]["max-size"])
    assert int(service["logging"]["options"]["max-file"]) > 1
    check = service["healthcheck"]
    assert check["test"][:2] == ["CMD", "fedsec-health"]
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@pytest.mark.parametrize(("case", "name"), [row for row in SERVICES if row[0] != "insecure"])
def test_tls_and_keys_are_on(case: str, name: str) -> None:
    command = service_of(case, name)["command"]
    options = {word.partition("=")[0] for word in command}
    assert "--insecure" not in options
    assert "--superexec-auth-secret-file" in options
    program = program_of(service_of(case, name))
    if program == "flower-superlink":
        wanted = {"--ssl-certfile", "--ssl-keyfile", "--enable-supernode-auth", "--database"}
        assert wanted | {"--disable-runtime-dependency-installation"} <= options
    elif program == "flower-supernode":
        assert {"--root-certificates", "--auth-supernode-private-key", "--ssl-certfile", "--ssl-keyfile"} <= options
    else:
        assert "--root-certificates" in options
    assert program == "flower-superexec" or "--isolation=process" in command


@pytest.mark.parametrize("case", FILES)
def test_what_a_service_names_is_declared(case: str) -> None:
    composition = load(*FILES[case], **NEEDED)
    for service in composition["services"].values():
        assert set(service["networks"]) <= set(composition["networks"])
        secrets = set(service.get("secrets", []))
        assert secrets <= set(composition["secrets"])
        used = {word.rpartition("/")[2] for word in service["command"] if "=/run/secrets/" in word}
        assert used == secrets
        for volume in service["volumes"]:
            source, target, *mode = volume.split(":")
            if target == "/srv/fedsec/data":
                assert mode == ["ro"]
            else:
                assert source in composition["volumes"]
                assert target == "/var/lib/fedsec"


@pytest.mark.parametrize("case", FILES)
def test_no_two_services_share_a_volume(case: str) -> None:
    services = load(*FILES[case], **NEEDED)["services"].values()
    named = [volume.split(":")[0] for service in services for volume in service["volumes"] if volume.count(":") == 1]
    assert len(named) == len(set(named)) == len(services)


@pytest.mark.parametrize("case", FILES)
def test_code_that_was_sent_reaches_one_process_and_no_network_outside(case: str) -> None:
    composition = load(*FILES[case], **NEEDED)
    for name, service in composition["services"].items():
        if program_of(service) == "flower-superexec":
            [network] = service["networks"]
            assert composition["networks"][network] == {"internal": True}
            assert "ports" not in service
            [address] = [word for word in service["command"] if word.startswith("--runtime-api-address=")]
            peer = address.partition("=")[2].partition(":")[0]
            assert network in composition["services"][peer]["networks"]
            assert name != peer


@pytest.mark.parametrize("case", FILES)
def test_only_the_superlink_has_a_port_and_only_for_its_own_machine(case: str) -> None:
    services = load(*FILES[case], **NEEDED)["services"]
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == ({} if "node" in case else {"superlink": ["127.0.0.1:8000:8000"]})


def test_insecure_stands_in_its_own_file_and_is_complete() -> None:
    for file in DEPLOY.glob("compose.*.yml"):
        lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
        assert any("--insecure" in line for line in lines) == (file.name == "compose.insecure.yml")
    services = load(*FILES["insecure"], **NEEDED)["services"]
    assert all("--insecure" in service["command"] for service in services.values())
    assert not any("secrets" in service for service in services.values())


@pytest.mark.parametrize("name", ["FEDSEC_DATA_FOLDER", "FEDSEC_SUPERLINK", "FEDSEC_NODE_CONFIG", "FEDSEC_NODE_KEY"])
def test_a_missing_variable_is_asked_for_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"for {name}"):
        load("compose.node.yml", **{key: value for key, value in NEEDED.items() if key != name})


@pytest.mark.parametrize(("file", "example"), [("server", "server.env.example"), ("node", "node.env.example")])
def test_the_example_has_every_variable_and_gives_those_that_are_needed(file: str, example: str) -> None:
    lines = (DEPLOY / example).read_text().splitlines()
    named = {line.lstrip("#").partition("=")[0] for line in lines if re.match(r"#?[A-Z_]+=", line)}
    assert named == variables_of(f"compose.{file}.yml")
    given = dict(shlex.split(line)[0].split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    assert load(f"compose.{file}.yml", **given)["services"]
