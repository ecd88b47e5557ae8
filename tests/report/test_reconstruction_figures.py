"""What is drawn of a class that was rebuilt, from rounds as a run writes them down."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from fedsec.report.reconstruction_figures import SCORES, distances_by_round, reconstruction_pictures, roc_curves, strips
from fedsec.report.records import read_runs
from fedsec.runs.record import RunFolder
from fedsec.runs.rounds import RoundRecord
from tests.report.finished import config, record

BEGINS = 3


def line(server_round: int, curves: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(SCORES, 0.1 * server_round)
    found |= {"began": server_round >= BEGINS, "auc": dict.fromkeys(curves, 0.75), "roc": curves}
    if server_round >= BEGINS:
        found["rebuilt"] = {"distances": {"of_means": 0.1 / server_round}, "recognised": 20.0 * server_round}
    return {"round": server_round, "reconstruction": found}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    curve = {str(label): [[0.0, 0.5, 1.0], [0.0, 1.0, 1.0]] for label in (0, 1)}
    lines = [line(server_round, curve) for server_round in range(6)]
    (tmp_path / "rounds.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    generated = tmp_path / "generated"
    generated.mkdir()
    for server_round in (3, 4, 5, 6):  # the last one belongs to a round that was not finished
        picture = np.full((231, 231), 40 * server_round, np.uint8)
        Image.fromarray(picture).save(generated / f"{server_round:06}.png")
    images = np.zeros((10, 1, 28, 28), np.uint8)
    np.savez(tmp_path / "samples.npz", clean=images, triggered=images)
    return RunFolder(tmp_path)


def test_curves_are_named_by_class_with_their_area(run: RunFolder) -> None:
    figure = roc_curves(run)
    assert figure is not None
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["0: 0.750", "1: 0.750"]
    plt.close(figure)


def test_a_federation_of_one_class_has_no_curves(run: RunFolder) -> None:
    lines = [json.dumps(line(server_round, {})) + "\n" for server_round in range(6)]
    (run.path / "rounds.jsonl").write_text("".join(lines))
    assert roc_curves(run) is None


def test_distances_begin_with_the_attack(run: RunFolder) -> None:
    figure = distances_by_round({"none": [run]})
    left, right = figure.axes
    assert left.lines[0].get_xdata() == pytest.approx([3, 4, 5])
    assert left.lines[0].get_ydata() == pytest.approx([0.1 / 3, 0.1 / 4, 0.1 / 5])
    assert right.lines[0].get_ydata() == pytest.approx([60, 80, 100])
    plt.close(figure)


def test_a_round_that_was_not_finished_is_not_shown(run: RunFolder) -> None:
    figure = strips({"none": [run]})
    assert figure is not None
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert [title for title in titles if "6" in title] == []
    assert any("5" in title for title in titles)
    plt.close(figure)


def test_every_picture_has_a_file(run: RunFolder, tmp_path: Path) -> None:
    written = reconstruction_pictures({"none": [run]}, tmp_path / "figure")
    assert sorted(path.name for path in written.values()) == [
        f"figure_{ending}.png" for ending in ("distance", "grid", "roc", "scores", "strip")
    ]
    assert all(path.stat().st_size > 1000 for path in written.values())


def test_a_table_tells_what_was_rebuilt_in_all_rounds(tmp_path: Path) -> None:
    folder = record(config(kind="reconstruction"), tmp_path / "run", 90.0, None)
    for server_round, (recognised, distance, ssim) in enumerate([(100.0, 0.01, 0.2), (0.0, 0.3, 0.6)], start=2):
        rebuilt = {"recognised": recognised, "distances": {"of_means": distance}, "ssim_nearest": ssim}
        found = {"began": True, "rebuilt": rebuilt}
        folder.append_round(
            RoundRecord(round=server_round, MA=90.0, BA=None, loss=1.0, class_accuracy=[], reconstruction=found)
        )
    row = read_runs([folder]).iloc[0]
    assert (row["RECOGNISED"], row["DISTANCE"], row["SSIM"]) == (50.0, 0.01, 0.6)
