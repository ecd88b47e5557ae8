"""The systemd units are what systemd takes, and are locked up; systemd itself is not running here."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.compositions import load, program_of
from tests.deploy.test_compose import NEEDED

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
TWINS = {
    "fedsec-superlink.service": ("compose.server.yml", "superlink"),
    "fedsec-serverapp.service": ("compose.server.yml", "serverapp"),
    "fedsec-supernode@.service": ("compose.node.yml", "supernode"),
    "fedsec-clientapp@.service": ("compose.node.yml", "clientapp"),
}
systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings_of(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().replace("\\\n", " ").splitlines():
        if re.match(r"[A-Za-z]+=", line):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(re.sub(r"\s+", " ", value))
    return found


@systemd
def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    programs = {program_of(load(file, **NEEDED)["services"][name]) for file, name in TWINS.values()}
    for program in programs | {"nginx"}:
        (tmp_path / "bin" / program).symlink_to("/bin/true")
    copies = []
    for unit in SERVICES:
        copy = tmp_path / unit.name.replace("@.", "@hospital-1.")
        copy.write_text(re.sub("/opt/fedsec/bin|/usr/sbin(?=/nginx)", str(tmp_path / "bin"), unit.read_text()))
        (tmp_path / unit.name).write_text(copy.read_text())
        copies.append(copy)
    check = ["systemd-analyze", "verify", "--man=no", *copies]
    said = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert said.stderr == ""
    assert said.returncode == 0


@systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_exposes_little(unit: Path) -> None:
    check = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]  # 2.0 of 10, 10 is worst
    said = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_has_limits_a_folder_of_its_own_and_comes_back(unit: Path) -> None:
    settings = settings_of(unit)
    assert settings["NoNewPrivileges"] == ["yes"]
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["CapabilityBoundingSet"] == [""]
    assert settings["Restart"] == ["always"]
    assert re.fullmatch(r"\d+[GM]", settings["MemoryMax"][0])
    if unit.name in TWINS:
        [state] = settings["StateDirectory"]
        assert any(f"HOME=/var/lib/{state} " in line for line in settings["Environment"])


@pytest.mark.parametrize("unit", [UNITS / name for name in TWINS], ids=lambda unit: unit.name)
def test_a_unit_starts_what_its_container_starts(unit: Path) -> None:
    file, name = TWINS[unit.name]
    service = load(file, **NEEDED)["services"][name]
    [command] = settings_of(unit)["ExecStart"]
    program, *words = command.split()
    assert program == f"/opt/fedsec/bin/{program_of(service)}"
    expected = {word.partition("=")[0] for word in service["command"]} - {"--health-server-address"}
    assert {word.partition("=")[0] for word in words} == expected
    secrets = {line.partition(":")[0] for line in settings_of(unit)["LoadCredential"]}
    assert secrets == set(service["secrets"])
    assert set(re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/(\S+)", command)) == secrets


def test_who_runs_code_that_was_sent_is_another_user_and_stays_on_this_machine() -> None:
    users = {}
    for unit in SERVICES:
        settings = settings_of(unit)
        [users[unit.name]] = settings["User"]
        sent = "superexec" in settings["ExecStart"][0].split()[0]
        assert (settings["User"] == ["fedsec-app"]) == sent
        assert settings.get("IPAddressDeny") == (["any"] if sent else None)
        assert settings.get("IPAddressAllow") == (["localhost"] if sent else None)
    assert len(set(users.values())) == 3
    declared = re.findall(r"^u (\S+)", (UNITS / "fedsec.sysusers").read_text(), re.MULTILINE)
    assert set(users.values()) == set(declared)


@pytest.mark.parametrize("file", ["compose.server.yml", "compose.one-host.yml"])
def test_the_superlink_is_reached_from_its_own_machine_only(file: str) -> None:
    """Everybody who reaches it can start a run (decision 0011); nodes come through the gate."""
    [port] = load(file, **NEEDED)["services"]["superlink"]["ports"]
    assert port.startswith("127.0.0.1:")
    assert "--host=127.0.0.1" in settings_of(UNITS / "fedsec-superlink.service")["ExecStart"][0]
    [gate] = settings_of(UNITS / "fedsec-gate.service")["ExecStartPre"]
    assert '--superlink "localhost:' in gate
