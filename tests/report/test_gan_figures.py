"""The figures of the thesis on GAN balancing are drawn, and their numbers are those that were measured."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from fedsec.metrics.classification import ClassAccuracy
from fedsec.report.figure_page import grid_page, samples_page, scores_page, write_figure
from fedsec.report.gan_figures import draw_scores, in_parts
from fedsec.runs.figure import Figure, PublishedScore, load_figure
from fedsec.runs.figure_data import ClientSamples, FinalScores, GanCourse, GanScores, Generated, Grid

RNG = np.random.default_rng(0)
SCORES = GanScores(
    tuple(
        GanCourse(
            client,
            (0, 5, 10),
            {"ours": np.array([1.0, 2.0, 3.0 + client]), "inception-v3, 12345678": np.array([1.0, 1.5, 2.0])},
            np.arange(10, dtype=np.float32),
            np.ones(10, np.float32),
            (FinalScores("ours", 3.0 + client, 7.0, 0.25), FinalScores("inception-v3, 12345678", 2.0, 90.0, 0.5)),
            (4, 0),
            ClassAccuracy(88.0, [88.0, None]),
            ClassAccuracy(55.5, [90.0 + client, 21.0]),
        )
        for client in (0, 2)
    ),
    500,
    {"ours": 9.5, "inception-v3, 12345678": 2.2},
    ClassAccuracy(80.0, [85.0, 75.0]),
    ("cat", "dog"),
    ("Client 1 has no GAN: too even.",),
)


def images(count: int, channels: int = 1) -> np.ndarray:
    return RNG.integers(0, 256, (count, channels, 6, 6), np.uint8)


def figure(tmp_path: Path, kind: str, more: str = "") -> Figure:
    file = tmp_path / "fig.toml"
    balance = "" if kind == "samples" else 'balance = "cgan"\n'
    file.write_text(f'title = "Some title"\nfigure = "{kind}"\n{more}\n[data]\ndataset = "digits"\n{balance}')
    return load_figure(file)


def test_a_curve_of_losses_has_the_means_of_its_parts() -> None:
    steps, means = in_parts(np.arange(10, dtype=np.float32), 4)
    np.testing.assert_array_equal(steps, [3, 6, 8, 10])
    np.testing.assert_array_equal(means, [1.0, 4.0, 6.5, 8.5])
    np.testing.assert_array_equal(in_parts(np.array([2.0, 4.0], np.float32))[1], [2.0, 4.0])


def test_the_page_of_samples_has_the_counts_and_a_small_picture(tmp_path: Path) -> None:
    samples = [ClientSamples(c, images(4 - c), np.zeros(4 - c, np.int64), (5, c), ("a", "b")) for c in range(3)]
    of = figure(tmp_path, "samples")
    written = write_figure(samples_page(of, samples), of, tmp_path / "out", "Made with love.")
    assert [path.name for path in written] == ["fig.png", "fig.md", "fig.csv"]
    assert (tmp_path / "out" / "fig.csv").read_text() == "client,a,b\n0,5,0\n1,5,1\n2,5,2\n"
    page = (tmp_path / "out" / "fig.md").read_text()
    assert page.startswith("# Some title\n\n![Some title](fig.png)\n")
    assert "digits, dealt to 10 clients (label-skew with q = 0.3), seed 0.\n" in page
    assert page.endswith("Made with love.\n")
    assert written[0].stat().st_size < 100_000


def test_the_page_of_scores_has_every_number_and_says_what_does_not_compare(tmp_path: Path) -> None:
    of = figure(tmp_path, "score", '[published]\nscore = 2.5\nfeatures = "Inception"')
    page = scores_page(of, SCORES)
    plt.close(page.drawing)
    course = page.numbers[""]
    assert len(course) == 2 * 2 * 3
    assert course[(course["client"] == 2) & (course["step"] == 10)]["inception_score"].tolist() == [5.0, 2.0]
    assert page.numbers["_gans"][["fid", "taught"]].to_numpy().tolist() == [[7.0, 55.5], [90.0, 55.5]] * 2
    assert page.numbers["_losses"].groupby("client")["generator"].mean().tolist() == [4.5, 4.5]
    assert page.notes[0].startswith("The highest published Inception Score is about 2.5, on the features of Inception;")
    assert "9.50 on ours, 2.20 on inception-v3, 12345678" in page.notes[1]
    assert page.notes[-1] == SCORES.notes[0]


def test_the_page_of_scores_has_every_class_apart(tmp_path: Path) -> None:
    of = figure(tmp_path, "score")
    page = scores_page(of, SCORES)
    write_figure(page, of, tmp_path, "Made with love.")
    assert (tmp_path / "fig_classes.csv").read_text().splitlines() == [
        "client,class,real_images,recognised,taught",
        "0,cat,4,88,90",
        "0,dog,0,,21",
        "2,cat,4,88,92",
        "2,dog,0,,21",
        "real images,cat,,,85",
        "real images,dog,,,75",
    ]
    assert "cat: 88.0, 91.0, 85.0; dog: nan, 21.0, 75.0." in (tmp_path / "fig.md").read_text()


@pytest.mark.parametrize(("features", "drawn"), [("ours", False), ("inception-v3, 12345678", True)])
def test_the_published_score_is_drawn_beside_scores_of_its_own_features_only(features: str, drawn: bool) -> None:
    drawing = draw_scores(SCORES, PublishedScore(2.5, "Inception"), "title")
    place = drawing.axes[list(SCORES.real).index(features)]
    levels = [line.get_ydata() for line in place.lines if len(line.get_ydata()) == 2]
    assert ([2.5, 2.5] in [list(level) for level in levels]) == drawn
    assert ("not to be compared" in place.get_legend().get_texts()[-1].get_text()) != drawn
    plt.close(drawing)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_page_of_a_grid_says_how_many_real_images_each_row_is_of(channels: int, tmp_path: Path) -> None:
    rows = tuple(Generated(c, "six", 3 * c, images(min(3 * c, 4), channels), images(5, channels)) for c in range(3))
    page = grid_page(figure(tmp_path, "grid"), Grid(rows, ("A note.",)))
    assert page.numbers[""]["real_images"].tolist() == [0, 3, 6]
    names = [label.get_text() for label in page.drawing.axes[0].get_yticklabels()]
    assert names == ["client 0: 0", "client 1: 3", "client 2: 6"]
    assert page.notes[-1] == "A note."
    plt.close(page.drawing)
