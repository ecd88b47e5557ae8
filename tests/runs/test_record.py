"""A run's record survives what can happen to it."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder, config_hash, unfinished_run
from fedsec.runs.rounds import RoundRecord
from fedsec.tensors import arrays_hash


def line(server_round: int, **more: float) -> RoundRecord:
    return RoundRecord(round=server_round, MA=90.0, BA=None, loss=more.get("loss", 0.1), class_accuracy=[None, 90.0])


def test_the_configuration_reads_back_as_it_was(runs: Path) -> None:
    config = RunConfig()
    folder = RunFolder.create(config)
    assert folder.path.parent == runs / "quickstart"
    assert folder.config() == config


def test_a_key_that_came_later_reads_as_what_a_run_of_before_it_did(runs: Path) -> None:
    config = RunConfig()
    config = replace(config, attack=replace(config.attack, kind="untargeted-backdoor"))
    folder = RunFolder.create(config)
    written = (folder.path / "config.toml").read_text()
    assert 'labels = "pairs"\n' in written
    (folder.path / "config.toml").write_text(written.replace('labels = "pairs"\n', ""))
    assert folder.config() == replace(config, attack=replace(config.attack, labels="any"))


def test_run_output_comes_before_the_environment(runs: Path, tmp_path: Path) -> None:
    config = RunConfig()
    elsewhere = replace(config, run=replace(config.run, output=str(tmp_path / "else")))
    assert RunFolder.create(elsewhere).path.parent == tmp_path / "else" / "quickstart"


def test_rounds_read_back_with_nan_as_nothing(runs: Path) -> None:
    folder = RunFolder.create(RunConfig())
    folder.append_round(line(0))
    folder.append_round(line(1, loss=float("nan")))
    assert [record["loss"] for record in folder.rounds()] == [0.1, None]


def test_a_last_line_cut_short_is_left_out_and_then_removed(runs: Path) -> None:
    folder = RunFolder.create(RunConfig())
    for server_round in range(3):
        folder.append_round(line(server_round))
    with (folder.path / "rounds.jsonl").open("a") as file:
        file.write('{"round": 3, "MA": 9')
    assert [record["round"] for record in folder.rounds()] == [0, 1, 2]
    folder.keep_rounds(1)
    folder.append_round(line(2))
    assert [record["round"] for record in folder.rounds()] == [0, 1, 2]
    assert all(json.loads(text) for text in (folder.path / "rounds.jsonl").read_text().splitlines())


def test_the_newest_unfinished_run_of_the_same_numbers_is_found(runs: Path) -> None:
    config = RunConfig()
    first = RunFolder.create(config, runs / "quickstart" / "20260101-000000-aaaa")
    second = RunFolder.create(config, runs / "quickstart" / "20260101-000001-aaaa")
    RunFolder.create(replace(config, run=replace(config.run, seed=5)), runs / "quickstart" / "20260101-000002-aaaa")
    (runs / "quickstart" / "20260101-000003-aaaa").mkdir()
    assert unfinished_run(config) == second
    second.write_summary({"final": {}})
    assert unfinished_run(config) == first
    first.write_summary({"final": {}})
    assert unfinished_run(config) is None


def test_hashes_change_with_numbers_and_with_nothing_else() -> None:
    config = RunConfig()
    assert config_hash(config) == config_hash(replace(config, run=replace(config.run, name="other")))
    assert config_hash(config) != config_hash(replace(config, data=replace(config.data, q=0.4)))
    one = {"a": np.zeros(3, np.float32)}
    assert arrays_hash(one) == arrays_hash({"a": np.zeros(3, np.float32)})
    assert arrays_hash(one) != arrays_hash({"b": np.zeros(3, np.float32)})
    assert arrays_hash(one) != arrays_hash({"a": np.zeros(3, np.float64)})


def test_a_full_disk_leaves_the_earlier_rounds_readable(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(RunConfig())
    folder.append_round(line(0))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.append_round(line(1))
    assert folder.rounds()[0]["round"] == 0
