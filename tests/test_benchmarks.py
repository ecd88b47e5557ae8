"""The benchmarks measure what they say, whatever ran before it; how fast anything is, no test says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import aggregation, distances, figures, limits, measuring, memory, peers, small, sweep
from benchmarks.limits import multiplier, reader
from benchmarks.matrices import draw, exact_distances, relative_error, turn_parallel
from benchmarks.measuring import Timing, in_turn, timed
from benchmarks.memory import share
from benchmarks.sections import Goal, compared
from fedsec.defenses.distances import pairwise_squared_distances

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are measured on Linux")
def test_a_larger_rule_before_it_does_not_hide_the_memory_of_a_rule() -> None:
    large, small = (timed(lambda size=size: np.ones(size * MIB, np.uint8).sum(), 1).added_mib for size in (200, 50))
    assert large == pytest.approx(200, abs=15)
    assert small == pytest.approx(50, abs=15)


def test_where_the_system_cannot_tell_memory_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measuring, "CLEAR", tmp_path / "missing" / "clear_refs")
    timing = timed(lambda: None, 1)
    assert timing.added_mib is None
    assert share(timing, 1, 1) is None
    section = memory.measure(draw(5, 100))
    assert {row[1] for row in section.table[1:]} == {"not measured"}
    assert section.goals == []


def test_what_a_rule_needs_is_counted_without_its_result() -> None:
    assert share(Timing((1.0,), 2.0), 10, MIB) == pytest.approx(-5.0)
    assert share(Timing((1.0,), 8.0), 10, MIB) == pytest.approx(10.0)


def test_time_and_memory_of_a_part_are_scaled() -> None:
    assert Timing((1.0, 2.0), 3.0).scaled(2.0) == Timing((2.0, 4.0), 6.0)


def test_functions_take_turns_and_the_first_turn_does_not_count() -> None:
    order: list[str] = []
    times = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in times.values()] == [2, 2]


def test_both_kinds_of_updates_are_what_they_are_called() -> None:
    rows = draw(4, 5000).deltas
    for below, above in ((0.6, 0.4), (1.0, 0.9)):
        cosines = np.corrcoef(rows)[np.triu_indices(4, 1)]
        assert above < cosines.min() <= cosines.max() < below
        assert relative_error(pairwise_squared_distances(rows), exact_distances(rows)) < 1e-7
        turn_parallel(rows)


def test_the_limits_read_and_multiply_everything() -> None:
    rows = np.arange(6000, dtype=np.float32).reshape(2, 3000)
    assert max(reader(rows)()) == 5999.0  # type: ignore[call-overload]
    _, operations = multiplier()
    assert operations % (2 * 2048**3) == 0.0


@pytest.mark.parametrize(
    ("measured", "at_least", "reached"), [(5.0, True, "yes"), (4.0, True, "no"), (5.0, False, "yes")]
)
def test_a_goal_says_whether_it_was_reached(measured: float, at_least: bool, reached: str) -> None:
    row = Goal("ours / theirs", measured, 5.0, at_least).row()
    assert row == ("ours / theirs", f"{'>=' if at_least else '<='} 5 x", f"{measured:g} x", reached)


def test_a_table_compares_all_with_ours_and_with_the_limit() -> None:
    times = {"ours": Timing((2.0,), None), "read": Timing((1.0,), None), "theirs": Timing((8.0,), None)}
    rows = compared(times, "ours", limit="read", notes={"theirs": "slow"})
    assert rows[-1] == ("theirs", "8 s (8 to 8 s)", "4.00", "8.00", "slow")


def test_peers_compute_what_we_compute() -> None:
    rows = draw(9, 2000).deltas
    mean, median = rows.mean(axis=0), np.median(rows, axis=0)
    np.testing.assert_allclose(peers.legacy_mean(rows)[0], mean, rtol=1e-3, atol=1e-5)  # type: ignore[index]
    np.testing.assert_allclose(peers.serverapp_mean(rows)["all"].numpy(), mean, rtol=1e-3, atol=1e-5)  # type: ignore[index]
    np.testing.assert_allclose(peers.torch_mean(rows), mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(peers.legacy_median(rows)[0], median)  # type: ignore[index]
    np.testing.assert_allclose(peers.serverapp_median(rows), median)
    np.testing.assert_allclose(peers.legacy_trimmed_mean(rows, 0.2)[0], peers.serverapp_trimmed_mean(rows, 0.2))  # type: ignore[index]
    exact = exact_distances(rows)
    assert relative_error(peers.serverapp_distances(rows), exact) < 1e-3
    assert relative_error(peers.torch_distances(rows) ** 2, exact) < 1e-3


def test_without_byzfl_its_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "byzfl", None)
    section = aggregation.SUBJECTS["median"](draw(5, 3000))
    assert section.table[-1][:2] == ("byzfl", "not installed")


@pytest.mark.parametrize("n", [40, 100])
def test_every_goal_has_its_row(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIDE", 16)
    monkeypatch.setattr(measuring, "reset_peak", lambda: 0.0)
    updates = draw(n, 200)
    texts = [goal.text for name in aggregation.SUBJECTS for goal in aggregation.SUBJECTS[name](updates).goals]
    for subject in ("mean", "trimmed mean", "median", "FLAME", "distances", "memory"):
        assert any(text.startswith(subject) for text in texts)
    assert sum("relative error" in text for text in texts) == 2


def test_the_loop_over_some_rows_is_scaled_to_all_pairs() -> None:
    assert peers.legacy_distances(draw(8, 20_000).deltas, 2).median > 0.0
    assert distances.free_memory() > 0


def test_the_command_prints_and_writes_what_was_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(aggregation, "with_malloc_settings", lambda: None)
    monkeypatch.setattr(aggregation, "LONG", 100)
    monkeypatch.setattr(small, "REPETITIONS", 1)
    arguments = ["--clients", "5", "--parameters", "3000", "--only", "means", "small", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["aggregation", *arguments])
    aggregation.main()
    assert "| mean, n = 5: ours / reading the matrix |" in capsys.readouterr().out
    assert "| Mean, n = 5, d = 3,000 | median" in (tmp_path / "aggregation.md").read_text()
    written = json.loads((tmp_path / "aggregation.json").read_text())
    assert [section["title"].split(",")[0] for section in written["sections"]] == ["A small round", "Mean"]
    assert len(written["sections"][1]["times"]["mean"]["seconds"]) == 5


def test_a_sweep_is_measured_and_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sweep, "with_malloc_settings", lambda: None)
    arguments = ["--clients", "5", "9", "--parameters", "200", "800", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    sweep.main()
    points = json.loads((tmp_path / "sweep.json").read_text())["points"]
    assert {(point["n"], point["d"]) for point in points} == {(5, 800), (9, 800), (40, 200), (40, 800)}
    assert {point["who"] for point in points if point["rule"] == "FLAME"} == {"fedsec"}
    monkeypatch.setattr(sys, "argv", ["figures", str(tmp_path)])
    figures.main()
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
