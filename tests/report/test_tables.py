"""Tables: means, spreads, floors and published numbers, by hand."""

from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedsec.report.figures import overview, partition, save
from fedsec.report.page import as_json, build_report, write_report
from fedsec.report.records import read_runs, with_floor
from fedsec.report.tables import (
    LEGEND_ANY,
    LEGEND_BORROWED,
    LEGEND_PAIRS,
    LEGEND_SOURCES,
    LEGEND_TROUBLE,
    display,
    markdown,
    summarise,
    with_published,
)
from fedsec.runs.record import RunFolder
from fedsec.runs.table import Published, load_table
from tests.report.finished import config, record


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


def test_the_floor_of_an_untargeted_backdoor_is_not_that_of_a_targeted_one(tmp_path: Path) -> None:
    ran = [
        record(config("fedavg", 0, kind, attack_share=share), tmp_path / f"{kind}{share}", 90.0, ba)
        for kind, share, ba in [
            ("backdoor", 0.0, 1.0), ("backdoor", 0.4, 99.0), ("untargeted-backdoor", 0.0, 8.0),
            ("untargeted-backdoor", 0.4, 98.0), ("none", 0.4, 1.0),
        ]
    ]  # fmt: skip
    anything = {"attack_labels": "any"}
    ran += [
        record(config("fedavg", 0, "untargeted-backdoor", attack_share=share, **anything), place, 90.0, ba)
        for share, place, ba in [(0.0, tmp_path / "any0", 28.0), (0.4, tmp_path / "any4", 97.0)]
    ]
    assert with_floor(read_runs(ran))["floor"].tolist() == [1.0, 1.0, 8.0, 8.0, 1.0, 28.0, 28.0]
    parts = {"of its own": (ran[2:4], LEGEND_PAIRS), "of every class": (ran[5:], LEGEND_ANY)}
    for said, (some, legend) in parts.items():
        assert said in legend
        assert legend in build_report(ran).notes[0]
        assert legend in build_report(some).notes[0]
        assert said not in build_report(ran[:2]).notes[0]


def test_a_backdoor_of_every_class_has_its_own_floor_and_one_that_hides_has_that_of_its_measure(tmp_path: Path) -> None:
    hides = {"attack_evasion": "penalty", "attack_evasion_weight": 0.5}
    ran = [
        record(config("fedavg", 0, kind, **settings), tmp_path / str(ba), 90.0, ba)
        for kind, ba, settings in [
            ("none", 1.0, {}), ("backdoor", 98.0, hides), ("none", 7.0, {"attack_sources": "all"}),
            ("backdoor", 99.0, {"attack_sources": "all"} | hides),
        ]
    ]  # fmt: skip
    assert with_floor(read_runs(ran))["floor"].tolist() == [1.0, 1.0, 7.0, 7.0]
    assert LEGEND_SOURCES in build_report(ran).notes[0]
    assert LEGEND_SOURCES not in build_report(ran[:2]).notes[0]


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


TABLE = """
title = "A table"
[axes]
"defense.strategy" = ["flame", "fedavg"]
[floor]
"attack.kind" = "none"
[data]
dataset = "digits"
[attack]
kind = "backdoor"
[defense]
strategy = "fedavg"
[[published]]
at = { "defense.strategy" = "fedavg" }
MA = [90.0, 1.0]
"""


def test_skipped_rounds_and_dropped_replies_are_shown_and_explained(folders: list[RunFolder], tmp_path: Path) -> None:
    sound = build_report(folders)
    assert not {"skipped", "dropped"} & set(sound.sections["Runs"])
    assert LEGEND_TROUBLE not in sound.notes[0]
    troubled = record(config("flame", 2), tmp_path / "t", 88.0, 3.0, skipped=1, dropped=40)
    report = build_report([*folders, troubled])
    shown = report.sections["Runs"].set_index(["attack.kind", "defense.strategy"])
    assert shown.loc[("backdoor", "flame"), ["skipped", "dropped"]].tolist() == ["0.3", "13.3"]
    assert shown.loc[("backdoor", "fedavg"), ["skipped", "dropped"]].tolist() == ["0", "0"]
    assert LEGEND_TROUBLE in report.notes[0]


def test_a_floor_of_plain_averaging_is_marked_and_explained(folders: list[RunFolder]) -> None:
    attacked, own = [folders[0], folders[2]], folders[4]
    report = build_report([*attacked, own])
    floors = report.sections["Runs"].set_index(["attack.kind", "defense.strategy"])["BA floor"]
    assert floors["backdoor", "fedavg"] == "1.0"
    assert floors["backdoor", "flame"] == "1.0 (fedavg)"
    assert LEGEND_BORROWED in report.notes[0]
    assert report.data["floor_from"].tolist() == ["same setting", "fedavg", "same setting"]
    own_only = build_report([folders[3], folders[6]])
    assert LEGEND_BORROWED not in own_only.notes[0]
    assert set(own_only.sections["Runs"]["BA floor"]) == {"9.0"}


def test_a_floor_that_is_not_at_hand_comes_from_nowhere(folders: list[RunFolder]) -> None:
    runs = with_floor(read_runs(folders[:2]))
    assert runs["floor"].isna().all()
    assert runs["floor_from"].tolist() == ["", ""]


def test_runs_without_an_attack_are_in_the_files_too(folders: list[RunFolder], tmp_path: Path) -> None:
    file = tmp_path / "cells.toml"
    file.write_text(TABLE)
    report = write_report(folders, tmp_path / "out", load_table(file))
    rounds = pd.read_csv(tmp_path / "out" / "cells_rounds.csv")
    assert {"run.seed", "attacked", "round", "MA", "BA"} <= set(rounds.columns)
    assert sorted(rounds["round"].unique()) == [0, 1]
    data = pd.read_csv(tmp_path / "out" / "cells.csv")
    rows = list(zip(data["defense.strategy"], data["attacked"], data["runs"], strict=True))
    assert rows == [("flame", True, 2), ("fedavg", True, 2), ("flame", False, 1), ("fedavg", False, 2)]
    assert as_json(report).count('"attacked":false') + as_json(report).count('"attacked": false') == 2
    assert list(report.sections["Nobody attacks"]["defense.strategy"]) == ["flame", "fedavg"]
    assert data["MA_published"].fillna(0).tolist() == [0, 90.0, 0, 0]


def test_a_table_in_which_nobody_attacks_has_its_published_numbers(folders: list[RunFolder], tmp_path: Path) -> None:
    file = tmp_path / "clean.toml"
    file.write_text(
        TABLE.replace('kind = "backdoor"', 'kind = "none"').replace('[floor]\n"attack.kind" = "none"\n', "")
    )
    report = build_report(folders[4:], load_table(file))
    assert list(report.sections) == ["Nobody attacks"]
    assert report.sections["Nobody attacks"]["MA published"].tolist() == ["-", "90.0 ± 1.0"]


def test_a_report_names_the_code_that_made_its_runs(folders: list[RunFolder], tmp_path: Path) -> None:
    assert build_report(folders).notes[-1].endswith("cpu; code abc.")
    other = record(config("krum", 3), tmp_path / "o", 88.0, 3.0, code="def")
    said = build_report([*folders, other]).notes[-2]
    assert said.startswith("7 runs; ")
    assert "code abc." in said
    assert "1 run; " in said
    assert "code def." in said


def test_a_run_that_went_on_with_other_code_was_made_with_both(tmp_path: Path) -> None:
    mixed = record(config(), tmp_path / "m", 88.0, 3.0, code="abc+def")
    assert build_report([mixed]).notes[-1] == "These runs were made with 2 versions of the code."


def test_there_is_a_picture_of_each_way_of_dealing_out_the_data(tmp_path: Path) -> None:
    runs = [
        record(config(seed=seed, data_q=q), tmp_path / f"{q}-{seed}", 90.0, 1.0) for q in (0.9, 0.1) for seed in (1, 0)
    ]
    write_report(runs, tmp_path / "several")
    assert {file.name for file in (tmp_path / "several").glob("*.png")} == {
        "report.png", "report_partition_1.png", "report_partition_2.png",
    }  # fmt: skip
    text = (tmp_path / "several" / "report.md").read_text()
    assert "![Who holds what: q = 0.1](report_partition_1.png)" in text
    write_report(runs[:2], tmp_path / "one")
    assert {file.name for file in (tmp_path / "one").glob("*.png")} == {"report.png", "report_partition.png"}


def test_a_legend_of_many_labels_stands_below_the_curves(folders: list[RunFolder], tmp_path: Path) -> None:
    few = overview({str(number): folders[:1] for number in range(6)})
    many = overview({str(number): folders[:1] for number in range(15)})
    assert [len(figure.subfigs[1].legends) for figure in (few, many)] == [0, 1]
    looks = {(line.get_color(), line.get_linestyle()) for line in many.subfigs[1].axes[0].get_lines()}
    assert len(looks) == 15
    for figure in (few, many):
        save(figure, tmp_path / "rounds.png")
