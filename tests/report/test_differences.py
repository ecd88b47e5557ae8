"""What tells runs apart, in tables and in pictures."""

from pathlib import Path

from fedsec.report.differences import by_label, by_partition, implied, varying
from fedsec.report.page import build_report
from fedsec.report.records import read_runs
from fedsec.runs.record import RunFolder
from tests.report.finished import config, record


def test_what_differs_between_runs_names_them(folders: list[RunFolder]) -> None:
    assert varying(read_runs(folders)) == ["attack.kind", "defense.strategy"]
    assert varying(read_runs(folders[:1])) == ["defense.strategy"]
    assert set(by_label(folders[:4])) == {"fedavg", "flame"}
    assert len(by_label(folders[:4])["flame"]) == 2


def test_an_option_that_the_strategy_brings_is_a_note_and_no_column(tmp_path: Path) -> None:
    runs = [
        record(config("fedavg"), tmp_path / "a", 90.0, 80.0),
        record(config("krum", defense_neighbours="all", defense_distance="euclidean"), tmp_path / "b", 90.0, 1.0),
        record(config("flame", defense_clip=0.3), tmp_path / "c", 90.0, 1.0),
    ]
    assert varying(read_runs(runs)) == ["defense.strategy"]
    assert implied(read_runs(runs)) == "krum (neighbours all, distance euclidean), flame (clip 0.3)"
    assert set(by_label(runs)) == {"fedavg", "krum", "flame"}
    assert "Options that go with it: krum (" in build_report(runs).notes[1]


def test_an_option_that_differs_within_a_strategy_is_a_column_and_an_empty_one_no_label(tmp_path: Path) -> None:
    runs = [
        record(config("fedavg"), tmp_path / "a", 90.0, 80.0),
        record(config("flame", defense_clip=0.3), tmp_path / "b", 90.0, 1.0),
        record(config("flame", defense_clip=0.9), tmp_path / "c", 90.0, 1.0),
    ]
    assert varying(read_runs(runs)) == ["defense.strategy", "defense.clip"]
    assert list(by_label(runs)) == ["fedavg", "flame, clip=0.3", "flame, clip=0.9"]


def test_a_setting_of_another_section_is_never_hidden(tmp_path: Path) -> None:
    runs = [
        record(config("fedavg", data_q=0.1), tmp_path / "a", 90.0, 80.0),
        record(config("flame", data_q=0.9), tmp_path / "b", 90.0, 1.0),
    ]
    assert varying(read_runs(runs)) == ["data.q", "defense.strategy"]


def test_a_name_is_a_column_only_where_nothing_else_tells_runs_apart(tmp_path: Path) -> None:
    runs = [
        record(config("fedavg", run_name="one"), tmp_path / "a", 90.0, 80.0),
        record(config("flame", run_name="two"), tmp_path / "b", 90.0, 1.0),
        record(config("flame", 1, run_name="three"), tmp_path / "c", 90.0, 1.0),
    ]
    assert varying(read_runs(runs[:2])) == ["defense.strategy"]
    assert varying(read_runs(runs)) == ["run.name", "defense.strategy"]
    assert varying(read_runs(runs[1:])) == ["run.name"]


def test_values_that_are_not_given_are_one_value(folders: list[RunFolder]) -> None:
    runs = read_runs(folders[:4])
    runs["defense.clip"] = ["", None, float("nan"), ""]
    assert varying(runs) == ["defense.strategy"]


def test_the_picture_of_a_partition_is_that_of_the_lowest_seed_under_attack(tmp_path: Path) -> None:
    def run(name: str, seed: int, kind: str = "backdoor", **settings: object) -> RunFolder:
        return record(config(seed=seed, kind=kind, **settings), tmp_path / name, 90.0, 1.0)

    runs = [run("a", 1), run("b", 0, "none"), run("c", 0), run("d", 0, data_partition="iid")]
    runs.append(run("e", 0, data_partition="iid", data_q=0.7))
    assert by_partition(runs[:3]) == {"": runs[2]}
    assert by_partition(runs) == {"partition = iid": runs[3], "partition = label-skew, q = 0.3": runs[2]}


def test_partitions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    runs = [record(config(federation_clients=n), tmp_path / str(n), 90.0, 1.0) for n in (100, 20)]
    assert list(by_partition(runs)) == ["clients = 20", "clients = 100"]


def test_what_fills_the_classes_deals_no_data_out(tmp_path: Path) -> None:
    balances = ("none", "repeat", "augment")
    runs = [record(config(data_balance=balance), tmp_path / balance, 90.0, 80.0) for balance in balances]
    shares = [record(config(data_share=share), tmp_path / str(share), 90.0, 80.0) for share in (0.5, 1.0)]
    assert len(by_partition(runs)) == 1
    assert list(by_partition(shares)) == ["share = 0.5", "share = 1"]
