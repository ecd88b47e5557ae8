"""Reports on federated GANs: scores where accuracies stand, published ones beside them, weights and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedsec.metrics.mosaics import mosaic
from fedsec.report.generator_figures import generated_images, generator_rounds
from fedsec.report.page import write_report
from fedsec.report.records import read_rounds, read_runs
from fedsec.runs.measures import measured, measured_in_words
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import ClientRecord, RoundRecord
from fedsec.runs.table import load_table
from tests.report.finished import config

TABLE = """
title = "Generators"
[axes]
"defense.strategy" = ["fedavg", "loss-forest"]
[data]
dataset = "digits"
partition = "iid"
size = 16
[model]
name = "dcgan"
[federation]
clients = 2
rounds = 1
[attack]
kind = "stamp"
share = 0.5
[defense]
strategy = "fedavg"
[[published]]
at = { "defense.strategy" = "fedavg" }
IS = [2.58]
FID = [121.76, 1.5]
KID = [70.22]
"""


def scores(fid: float) -> dict[str, Any]:
    return {"inception_score": 1.5, "fid": fid, "kid": 0.02, "features": "a classifier"}


def finished(configuration: Any, path: Path, fid: float) -> RunFolder:
    folder = RunFolder.create(configuration, path)
    folder.append_round(RoundRecord(round=0, generation=[scores(99.0)]))
    clients = [ClientRecord(0, 0.7, 0.1, 9, "honest", 1.0), ClientRecord(1, 0.3, 0.9, 9, "malicious", 4.0)]
    folder.append_round(RoundRecord(round=1, generation=[scores(fid)], clients=clients, seconds={"total": 2.0}))
    folder.write_environment(
        {"code": "abc", "versions": {"flwr": "1.41.0"}, "python": "3.11", "device": "cpu", "malicious": [1],
         "class_counts": [[3, 4], [5, 0]], "classes": ["a", "b"]}
    )  # fmt: skip
    images = np.zeros((4, 1, 16, 16), np.uint8)
    folder.write_samples(clean=images, triggered=images + 255)
    (folder.path / "generated").mkdir()
    rows = [np.full((8, 1, 16, 16), 90, np.uint8)] * 8
    Image.fromarray(mosaic(rows, 8)).save(folder.path / "generated" / "000001.png")
    final = {"MA": None, "BA": None, "round": 1, "IS": 1.5, "FID": fid, "KID": 20.0, "features": "a classifier"}
    counts = {"caught": 0, "malicious": 1, "false_alarms": 0, "honest": 1, "rounds": 1}
    folder.write_summary({"final": final, "detection": counts, "seconds_per_round": 2.0, "dropped": 0, "skipped": 0})
    return folder


@pytest.fixture
def table_and_runs(tmp_path: Path) -> tuple[Any, list[RunFolder]]:
    (tmp_path / "generators.toml").write_text(TABLE)
    table = load_table(tmp_path / "generators.toml")
    runs = [
        finished(configuration, tmp_path / f"run{number}", 10.0 + 5 * number)
        for number, (_, configuration) in enumerate(table.runs(range(2)))
    ]
    return table, runs


def test_a_table_has_scores_and_no_accuracies(table_and_runs: tuple[Any, list[RunFolder]], tmp_path: Path) -> None:
    table, runs = table_and_runs
    report = write_report(runs, tmp_path / "out", table)
    shown = report.sections["Attacked"]
    assert "MA" not in shown
    assert not any("BA" in column for column in shown)
    assert shown["FID"].tolist() == ["15.0 ± 7.1", "20.0 ± 7.1"]
    assert shown["FID published"].tolist() == ["121.8 ± 1.5", "-"]
    assert not any("difference" in column for column in shown)
    assert shown["IS published"].tolist() == ["2.58", "-"]
    assert shown["KID x 1000"].tolist() == ["20.0 ± 0.0", "20.0 ± 0.0"]
    assert any("features of a classifier" in note and "do not compare" in note for note in report.notes)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"generators.png", "generators_images.png", "generators_rounds.csv", "generators.html"} <= written


def test_rounds_and_runs_have_the_measures_that_there_are(
    table_and_runs: tuple[Any, list[RunFolder]], folders: list[RunFolder]
) -> None:
    _, runs = table_and_runs
    assert {"IS", "FID", "KID"} <= set(read_runs(runs)) & set(read_rounds(runs, []))
    assert not {"MA", "BA"} & set(read_runs(runs))
    assert not {"IS", "FID", "KID"} & set(read_runs(folders))
    assert {"MA", "BA", "IS", "FID", "KID"} <= set(read_runs([*runs, *folders]))


def test_the_pictures_show_a_panel_for_each_label(table_and_runs: tuple[Any, list[RunFolder]]) -> None:
    _, runs = table_and_runs
    labelled = {"plain": runs[:1], "forest": runs[1:2]}
    titles = [axes.get_title() for axes in generated_images(labelled).axes]
    assert titles == ["real", "with the trigger", "plain", "forest"]
    fid, weight, gap = generator_rounds(labelled).axes
    assert [line.get_ydata().tolist() for line in fid.lines] == [[10.0], [15.0]]
    assert [line.get_ydata().tolist() for line in weight.lines] == [[0.3], [0.3]]
    assert [line.get_ydata().tolist() for line in gap.lines] == [[3.0], [3.0]]


def test_what_was_measured_is_told_in_words() -> None:
    assert measured_in_words(RoundRecord(round=1, MA=90.0, BA=None)) == "MA  90.0  BA   -  "
    scored = RoundRecord(round=1, generation=[scores(12.34)])
    assert measured_in_words(scored) == "IS 1.50  FID 12.3  KID x 1000 20.0"
    assert measured_in_words(RoundRecord(round=2)) == "not scored"
    assert np.isnan(
        list(measured({"MA": None, "BA": None, "generation": [{"features": "f", "error": "e"}]}).values())
    ).all()


def test_a_run_that_was_made_before_there_were_scores_is_read_as_before(tmp_path: Path) -> None:
    assert measured({"MA": 90.0, "BA": None})["MA"] == 90.0
    assert config("fedavg").generative is False
