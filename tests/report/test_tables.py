"""Tables: means, spreads, floors and published numbers, by hand."""

from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedsec.report.figures import overview, partition, save
from fedsec.report.page import build_report, by_label, find_runs
from fedsec.report.records import read_runs, with_floor
from fedsec.report.tables import display, markdown, summarise, varying, with_published
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import ConfigError, parse
from fedsec.runs.record import RoundRecord, RunFolder
from fedsec.runs.table import Published


def record(config: RunConfig, path: Path, ma: float, ba: float | None, **more: Any) -> RunFolder:
    """Write what a finished run of one round leaves behind."""
    folder = RunFolder.create(config, path)
    folder.append_round(RoundRecord(round=0, MA=10.0, BA=0.0, loss=2.0, class_accuracy=[]))
    folder.append_round(RoundRecord(round=1, MA=ma, BA=ba, loss=1.0, class_accuracy=[], seconds={"total": 2.0}))
    folder.write_environment(
        {"code": "abc", "versions": {"flwr": "1.41.0"}, "python": "3.11", "device": "cpu", "malicious": [1],
         "class_counts": [[3, 4], [5, 0]], "classes": ["a", "b"]}
    )  # fmt: skip
    images = np.zeros((2, 1, 4, 4), np.uint8)
    folder.write_samples(clean=images, triggered=images + 255)
    counts = {"caught": 3, "malicious": 4, "false_alarms": 1, "honest": 10, "rounds": 1} | more
    folder.write_summary(
        {"final": {"MA": ma, "BA": ba, "round": 1}, "detection": counts, "seconds_per_round": 2.0, "dropped": 0,
         "skipped": 0}
    )  # fmt: skip
    return folder


def config(strategy: str = "fedavg", seed: int = 0, kind: str = "backdoor") -> RunConfig:
    return parse({"run": {"seed": seed}, "attack": {"kind": kind}, "defense": {"strategy": strategy}})


@pytest.fixture
def folders(tmp_path: Path) -> list[RunFolder]:
    """Two strategies by two seeds, attacked, and plain averaging that was never attacked."""
    return [
        record(config("fedavg", 0), tmp_path / "a", 90.0, 80.0),
        record(config("fedavg", 1), tmp_path / "b", 94.0, 90.0),
        record(config("flame", 0), tmp_path / "c", 88.0, 3.0),
        record(config("flame", 1), tmp_path / "d", 86.0, 5.0),
        record(config("fedavg", 0, "none"), tmp_path / "e", 95.0, 1.0, malicious=0, caught=0),
        record(config("fedavg", 1, "none"), tmp_path / "f", 97.0, 2.0, malicious=0, caught=0),
        record(config("flame", 1, "none"), tmp_path / "g", 97.0, 9.0, malicious=0, caught=0),
    ]


def test_rows_hold_configuration_and_results(folders: list[RunFolder]) -> None:
    row = read_runs(folders).iloc[0]
    assert (row["defense.strategy"], row["MA"], row["BA"], row["attacked"]) == ("fedavg", 90.0, 80.0, True)
    assert (row["caught"], row["false_alarms"]) == (75.0, 10.0)
    assert isnan(read_runs(folders).iloc[4]["caught"])


def test_the_floor_is_that_of_the_same_run_else_of_plain_averaging(folders: list[RunFolder]) -> None:
    assert with_floor(read_runs(folders))["floor"].tolist() == [1.0, 2.0, 1.0, 9.0, 1.0, 2.0, 9.0]
    without = with_floor(read_runs(folders[:4]))
    assert without["floor"].isna().all()


def test_a_floor_is_never_taken_from_another_setting(folders: list[RunFolder], tmp_path: Path) -> None:
    other = config("fedavg", 0)
    other = replace(other, federation=replace(other.federation, rounds=99))
    runs = with_floor(read_runs([*folders, record(other, tmp_path / "z", 50.0, 50.0)]))
    assert isnan(runs["floor"].iloc[-1])


def test_means_and_spreads_are_those_of_the_seeds(folders: list[RunFolder]) -> None:
    runs = with_floor(read_runs(folders))
    summary = summarise(runs[runs["attacked"]], ["defense.strategy"]).set_index("defense.strategy")
    assert summary.loc["fedavg", "MA"] == 92.0
    assert summary.loc["fedavg", "MA_spread"] == pytest.approx(np.std([90, 94], ddof=1))
    assert summary.loc["flame", "BA"] == 4.0
    assert summary.loc["flame", "floor"] == 5.0
    assert summary.loc["flame", "runs"] == 2


def test_published_numbers_stand_beside_ours_with_the_difference(folders: list[RunFolder]) -> None:
    runs = with_floor(read_runs(folders[:4]))
    published = [Published({"defense.strategy": "flame"}, {"MA": (85.0, 0.5)})]
    table = with_published(summarise(runs, ["defense.strategy"]), published, ["defense.strategy"])
    assert table["MA_difference"].tolist()[1] == 2.0
    assert isnan(table["MA_difference"].tolist()[0])
    shown = display(table, ["defense.strategy"])
    assert shown["MA"].tolist() == ["92.0 ± 2.8", "87.0 ± 1.4"]
    assert shown["MA published"].tolist() == ["-", "85.0 ± 0.5"]
    assert shown["MA difference"].tolist() == ["-", "+2.0"]
    assert "BA published" not in shown
    assert "BA floor" not in shown


def test_markdown_is_a_table() -> None:
    table = pd.DataFrame({"a": ["x", "y"], "b": ["1", "2"]})
    assert markdown(table) == "| a | b |\n| --- | --- |\n| x | 1 |\n| y | 2 |\n"


def test_what_differs_between_runs_names_them(folders: list[RunFolder]) -> None:
    assert varying(read_runs(folders)) == ["attack.kind", "defense.strategy"]
    assert varying(read_runs(folders[:1])) == ["defense.strategy"]
    assert set(by_label(folders[:4])) == {"fedavg", "flame"}
    assert len(by_label(folders[:4])["flame"]) == 2


def test_a_report_warns_of_runs_of_several_versions(folders: list[RunFolder]) -> None:
    assert len(build_report(folders).notes) == 2
    environment = folders[0].environment() | {"code": "def"}
    folders[0].write_environment(environment)
    assert "made with 2 versions of the code" in build_report(folders).notes[-1]


def test_pictures_are_drawn_for_runs_with_and_without_backdoor_accuracy(
    folders: list[RunFolder], tmp_path: Path
) -> None:
    untargeted = record(config("fedavg", 5, "untargeted"), tmp_path / "u", 50.0, None)
    runs = {"fedavg": folders[:2], "untargeted": [untargeted]}
    assert save(overview(runs), tmp_path / "rounds.png").stat().st_size > 5000
    counts = np.arange(30).reshape(3, 10)
    figure = partition(counts, [str(i) for i in range(10)], [1])
    assert save(figure, tmp_path / "sub" / "partition.png").stat().st_size > 5000


def test_finding_no_runs_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished run at or below"):
        find_runs([tmp_path])
