"""A machine's check: every line, in the order in which a person would mend what it finds."""

import json
from pathlib import Path

import pytest

from fedsec.node_check import machine
from fedsec.node_check.run import check_node
from tests.command_line import fedsec
from tests.data.folders import pictures, write_both, write_parquet

GREY = pictures(6, 16, 16)
LABELS = [0, 1, 2, 0, 1, 2]


def lines(node_config: str, run: Path | None = None, **options: object) -> dict[str, tuple[bool, str]]:
    given = {"superlink": "", "authority": None, "key": None, "insecure": False} | options
    superlink = str(given.pop("superlink"))
    found = check_node(node_config, superlink, run=run, **given)  # type: ignore[arg-type]
    return {finding.check: (finding.ok, finding.text) for finding in found}


def run_file(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text)
    return file


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))


def test_a_good_machine_is_ok_throughout(tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "data", "train", GREY, LABELS)
    found = lines(f"partition-id=2 data='{data}'")
    assert all(ok for ok, _ in found.values()), found
    assert list(found) == [
        "node-config", "role", "data", "labels", "disk (state)", "disk (Flower)", "disk (data cache)", "memory",
    ]  # fmt: skip
    assert found["labels"][1] == "cat: 2, dog: 2, emu: 2"
    assert found["data"][1].startswith("6 images of 1 x 16 x 16")


def test_a_run_file_decides_what_the_node_holds_and_is(tmp_path: Path, cache: Path) -> None:
    file = run_file(
        tmp_path,
        '[data]\ndataset = "digits"\n[federation]\nclients = 4\n'
        '[attack]\nkind = "backdoor"\nclients = "1"\n[defense]\nstrategy = "flame"\n',
    )
    assert lines("partition-id=1 role='attacker'", file)["role"] == (True, "partition 1, attacker")
    ok, text = lines("partition-id=1", file)["role"]
    assert not ok
    assert "the run makes partition 1 an attacker, and the node's role is 'honest'" in text
    assert "so this node would stay idle" in lines("partition-id=9", file)["role"][1]


@pytest.mark.parametrize(
    ("node_config", "message"),
    [
        ("partition-id=zero", "The provided configuration string is in an invalid format"),
        ("data='/srv'", "node-config partition-id: it is missing"),
        ("partition-id=0 dat='/srv'", "node-config dat: unknown key; did you mean data?"),
    ],
)
def test_a_node_configuration_that_cannot_be_is_the_first_line(node_config: str, message: str) -> None:
    found = lines(node_config)
    assert list(found) == ["node-config"]
    assert not found["node-config"][0]
    assert message in found["node-config"][1]


def test_data_that_is_not_there_or_not_labelled_is_told(tmp_path: Path) -> None:
    told = lines("partition-id=0 data='/no/where'")["data"][1]
    assert told == "found '/no/where', and there is no such folder; expected one with the data set"
    bad = write_both(tmp_path / "bad", GREY, [0, 1, -1, 0, 1, 2])
    assert "has unlabelled examples" in lines(f"partition-id=0 data='{bad}'")["data"][1]
    (tmp_path / "empty").mkdir()
    assert "it is empty" in lines(f"partition-id=0 data='{tmp_path / 'empty'}'")["data"][1]


def test_too_little_memory_or_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_parquet(tmp_path / "data", "train", GREY, LABELS)
    monkeypatch.setattr(machine, "available_memory", lambda: 2**20)
    monkeypatch.setattr(machine, "SPARE_BYTES", 2**60)
    found = lines(f"partition-id=0 data='{data}'")
    assert not found["memory"][0]
    assert "take a machine with more" in found["memory"][1]
    assert not found["disk (state)"][0]
    assert "make room there" in found["disk (state)"][1]


def test_what_is_needed_for_the_network_is_asked_for() -> None:
    found = lines("partition-id=-1", superlink="somewhere")
    assert found["server"] == (False, "found 'somewhere'; expected host:port, such as server.example.org:8000")
    found = lines("partition-id=-1", superlink="no-such-host.invalid:1")
    assert [found[check][0] for check in ("server", "authority", "key")] == [False] * 3
    assert "expected --key FILE" in found["key"][1]
    assert list(lines("partition-id=-1", superlink="no-such-host.invalid:1", insecure=True)) == [
        "node-config",
        "server",
    ]


def test_the_command_prints_a_line_a_check_and_fails_with_the_first_that_fails(tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "data", "train", GREY, LABELS)
    done = fedsec("node", "check", "--node-config", f"partition-id=0 data='{data}'")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("ok      node-config: partition-id=0")
    done = fedsec("node", "check", "--node-config", "partition-id=x", "--json")
    assert done.code == 1
    assert [line["check"] for line in json.loads(done.out.splitlines()[-1])] == ["node-config"]
