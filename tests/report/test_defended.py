"""Rounds in which an attack failed, their time, and what was found in models."""

from math import isnan, nan
from pathlib import Path

import pytest

from fedsec.report.defended import defended_rounds, defense_legend, defense_sections, findings, searches_in, times
from fedsec.report.defended_figures import defense_pictures, sub_models
from fedsec.report.page import build_report, write_report
from fedsec.runs.defended import Defended
from fedsec.runs.record import RunFolder
from fedsec.runs.table import load_table
from tests.report.finished import config
from tests.report.inspected import inspected, repaired, with_picture

MODELS = {"benign": {"MA": 70.0, "BA": 4.0}, "repaired": {"MA": 60.0, "BA": 2.0}}
TABLE = """
title = "A table"
seeds = 2

[axes]
"defense.strategy" = ["fedavg", "gancrop"]

[defended]
below = 30

[defended.seconds]
fedavg = 200
gancrop = 500

[data]
dataset = "digits"
public = 100

[model]
name = "lenet5"

[federation]
clients = 10
rounds = 3

[attack]
kind = "backdoor"

[defense]
strategy = "fedavg"
"""


@pytest.fixture
def folders(tmp_path: Path) -> list[RunFolder]:
    """Plain averaging and GANcrop by two seeds; the attack aims at class 6."""
    found = [
        {"suspects": 3, "repairs": [repaired(6), repaired(None, "left out: it did not converge")], "models": MODELS},
        {"suspects": 2, "repairs": [repaired(3, "repaired")], "models": {"benign": {"MA": 72.0, "BA": None}}},
        {"suspects": 0, "repairs": [], "models": {}},
    ]
    nothing: list[dict[str, object]] = [{}, {}, {}]
    return [
        inspected(config("fedavg", 0), tmp_path / "a", [29.9, 30.0, 90.0], nothing),
        inspected(config("fedavg", 1), tmp_path / "b", [80.0, 80.0, None], nothing),
        inspected(config("gancrop", 0, data_public=100), tmp_path / "c", [1.0, 2.0, 3.0], found),
        inspected(config("gancrop", 1, data_public=100), tmp_path / "d", [1.0, 50.0, 3.0], found),
    ]


@pytest.fixture
def runs(folders: list[RunFolder]) -> dict[str, list[RunFolder]]:
    return {"fedavg": folders[:2], "gancrop": folders[2:]}


def test_a_round_is_defended_below_the_bound_and_where_backdoor_accuracy_is_defined(
    runs: dict[str, list[RunFolder]],
) -> None:
    found = defended_rounds(runs, 30.0).set_index("label")
    assert found["defended"].to_dict() == {"fedavg": 0.5, "gancrop": 2.5}
    assert found["rounds"].to_dict() == {"fedavg": 3.0, "gancrop": 3.0}
    assert found["spread"]["fedavg"] == pytest.approx(0.5**0.5)


def test_time_is_of_training_and_aggregation_beside_plain_averaging_s(runs: dict[str, list[RunFolder]]) -> None:
    found = times(runs, {"fedavg": 200.0, "gancrop": 500.0}).set_index("label")
    assert found["seconds"].to_dict() == {"fedavg": 4.0, "gancrop": 4.0}
    assert found["ratio"].to_dict() == {"fedavg": 1.0, "gancrop": 1.0}
    assert found["published_ratio"].to_dict() == {"fedavg": 1.0, "gancrop": 2.5}


def test_without_plain_averaging_there_is_no_ratio(runs: dict[str, list[RunFolder]]) -> None:
    [found] = times({"gancrop": runs["gancrop"]}, {"gancrop": 500.0}).to_dict(orient="records")
    assert found["seconds"] == 4.0
    assert isnan(found["ratio"])
    assert isnan(found["published_ratio"])


def test_what_was_found_is_told_in_shares_of_the_models_that_were_searched(runs: dict[str, list[RunFolder]]) -> None:
    found = findings(runs).set_index("label")
    assert found.loc["gancrop"].to_dict() == pytest.approx(
        {"caught": 75.0, "false_alarms": 10.0, "searched": 3.0, "named": 200 / 3, "true": 100 / 3, "repaired": 200 / 3}
    )
    assert found["searched"]["fedavg"] == 0
    assert isnan(found["named"]["fedavg"])


def test_where_nobody_attacks_no_target_is_the_true_one(tmp_path: Path) -> None:
    found = [{"suspects": 1, "repairs": [repaired(6)], "models": {}}]
    calm = inspected(config("gancrop", 0, attack_share=0.0, data_public=100), tmp_path / "a", [1.0], found, malicious=0)
    [row] = findings({"gancrop": [calm]}).to_dict(orient="records")
    assert (row["named"], row["searched"]) == (100.0, 1.0)
    assert isnan(row["true"])
    assert isnan(row["caught"])
    assert list(defense_sections({}, {"gancrop": [calm]}, None)["Found in models"][""]) == ["gancrop, nobody attacks"]


def test_models_that_gansweep_swept_are_searched_ones_too() -> None:
    line = {"inspection": {"swept": [{"flagged": [2, 6], "success_after": [0.0]}, {"flagged": []}]}}
    assert [tuple(one) for one in searches_in(line)] == [((2, 6), True), ((), False)]
    assert searches_in({}) == []  # a run of before


def test_sub_models_have_the_rounds_that_they_were_made_in(runs: dict[str, list[RunFolder]]) -> None:
    found = sub_models(runs)
    assert set(found["label"]) == {"gancrop"}
    means = found.groupby(["model", "round"])[["MA", "BA"]].mean()
    assert means.loc["repaired"].to_dict() == {"MA": {1: 60.0}, "BA": {1: 2.0}}
    assert means.loc["benign"]["MA"].to_dict() == {1: 70.0, 2: 72.0}
    assert isnan(means.loc["benign"]["BA"][2])
    assert means.loc["global"]["MA"].to_dict() == {1: 81.0, 2: 82.0}
    assert sub_models({"fedavg": runs["fedavg"]}).empty


def test_pictures_are_of_what_there_is(runs: dict[str, list[RunFolder]], tmp_path: Path) -> None:
    with_picture(runs["gancrop"][0], 1)
    with_picture(runs["gancrop"][0], 99)  # of a round that was never finished
    pictures = defense_pictures(runs, tmp_path / "t", Defended(30.0, {}))
    assert [path.name for path in pictures.values()] == ["t_defended.png", "t_submodels.png", "t_triggers.png"]
    assert all(path.stat().st_size > 1000 for path in pictures.values())
    assert (tmp_path / "t_submodels.csv").read_text().splitlines()[0] == "label,seed,round,model,MA,BA"
    assert defense_pictures({"fedavg": runs["fedavg"]}, tmp_path / "u", None) == {}


def test_a_table_s_report_has_them_with_the_published_ratio(folders: list[RunFolder], tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text(TABLE)
    report = write_report(folders, tmp_path / "out", load_table(tmp_path / "table.toml"))
    page = (tmp_path / "out" / "table.md").read_text()
    assert "|  | rounds with BA below 30 % | of |\n| --- | --- | --- |\n| fedavg | 0.5 ± 0.7 | 3 |" in page
    assert "| gancrop | 4.00 | 1.00 | 2.50 | 500 |" in page
    assert "| gancrop | 75% | 10.0% | 3.0 | 67% | 33% | 67% |" in page
    assert "| fedavg | 75% | 10.0% | - | - | - | - |" in page
    assert "![Defended rounds, and MA by round (Figure 5)](table_defended.png)" in page
    assert [note for note in report.notes if "Defended rounds: those after which BA is below 30 %" in note]


def test_runs_that_look_into_no_model_have_the_report_that_they_had(folders: list[RunFolder]) -> None:
    report = build_report(folders[:2])
    assert list(report.sections) == ["Runs"]
    assert defense_legend({}, Defended(nan, {})) == ""
