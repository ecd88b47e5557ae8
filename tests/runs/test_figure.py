"""Figure files: what they say, and one line for every mistake in them."""

from pathlib import Path

import pytest

from fedsec.metrics.generation import SPLITS
from fedsec.runs.figure import SCORE_PARTS, PublishedScore, is_figure, load_figure
from fedsec.runs.loading import ConfigError, load_run_file, read_toml

SCORE = """
title = "A figure"
figure = "score"
[show]
images = 30
clients = [0, 3]
[published]
score = 2.5
features = "Inception"
[reduced]
"gan.steps" = 2
"show.images" = 20
[data]
dataset = "digits"
balance = "cgan"
[federation]
clients = 4
[attack]
kind = "none"
"""

SAMPLES = 'title = "Samples"\nfigure = "samples"\n[data]\ndataset = "digits"\n'


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "figure.toml"
    file.write_text(text)
    return file


def test_a_figure_says_what_it_shows_of_which_clients_of_which_run(tmp_path: Path) -> None:
    figure = load_figure(write(tmp_path, SCORE))
    assert (figure.title, figure.kind, figure.images, figure.shown_clients) == ("A figure", "score", 30, (0, 3))
    assert figure.published == PublishedScore(2.5, "Inception")
    assert (figure.config.federation.clients, figure.config.gan.steps) == (4, 600)
    assert (figure.name, figure.note, figure.config.run.name) == ("figure", "", "figure")


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    figure = load_figure(write(tmp_path, SAMPLES))
    assert (figure.images, figure.shown_clients, figure.classes) == (16, tuple(range(10)), ())


def test_overrides_change_the_run_and_what_is_shown(tmp_path: Path) -> None:
    figure = load_figure(write(tmp_path, SCORE), {"run.seed": 4, "show.images": 17})
    assert (figure.config.run.seed, figure.images) == (4, 17)
    assert (figure.name, figure.note) == ("figure", "Changed by --set (run.seed = 4, show.images = 17).")


def test_the_reduced_figure_is_another_one_and_says_so(tmp_path: Path) -> None:
    figure = load_figure(write(tmp_path, SCORE), {"gan.width": 8}, reduced=True)
    assert (figure.config.gan.steps, figure.config.gan.width, figure.images) == (2, 8, 20)
    assert (figure.name, figure.title) == ("figure_reduced", "A figure (reduced)")
    assert figure.note == "Reduced setting (gan.steps = 2, show.images = 20). Changed by --set (gan.width = 8)."
    with pytest.raises(ConfigError, match=r"--reduced: this file has no \[reduced\] setting"):
        load_figure(write(tmp_path, SAMPLES), reduced=True)


def test_a_score_is_of_as_many_images_as_it_has_parts_and_other_figures_of_one(tmp_path: Path) -> None:
    assert SCORE_PARTS == SPLITS
    assert load_figure(write(tmp_path, SCORE), {"show.images": SPLITS}).images == SPLITS
    with pytest.raises(ConfigError, match=r"show\.images: found 9; expected how many, 10 or more"):
        load_figure(write(tmp_path, SCORE), {"show.images": 9})
    assert load_figure(write(tmp_path, SAMPLES), {"show.images": 1}).images == 1
    with pytest.raises(ConfigError, match=r"show\.images: found 0; expected how many, 1 or more$"):
        load_figure(write(tmp_path, SAMPLES), {"show.images": 0})


def test_a_figure_is_no_run(tmp_path: Path) -> None:
    file = write(tmp_path, SCORE)
    assert is_figure(read_toml(file))
    with pytest.raises(ConfigError, match="this is a figure; use 'fedsec reproduce"):
        load_run_file(file)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "A figure"', "", "title: found None; expected the figure's title"),
        ('figure = "score"', 'figure = "scores"', "figure: found 'scores'; expected one of 'samples', 'score', 'grid'"),
        ("[show]", '[axes]\n"data.q" = [0.1]\n[show]', "axes: found in a figure; expected one run"),
        ("images = 30", "images = 9", "show.images: found 9; expected how many, 10 or more, the parts of an Inception"),
        ("images = 30", "images = true", "show.images: found True"),
        ("images = 30", "image = 30", "show.image: unknown key; expected some of images, classes, clients"),
        ("images = 30", "classes = [6]", "show.classes: found with figure = 'score'; expected figure = 'grid'"),
        ("clients = [0, 3]", "clients = [0, 4]", "show.clients: found 4; expected 0 to 3, clients of the run"),
        ("clients = [0, 3]", "clients = [-1]", r"show.clients: found \[-1\]; expected a list of their numbers"),
        ("score = 2.5", 'score = "high"', "published: found .*; expected a score and the features that it is of"),
        ('features = "Inception"', "", "published: found .*; expected a score and the features"),
        ('balance = "cgan"', 'balance = "repeat"', "data.balance: found 'repeat' with figure = 'score'; expected cgan"),
        ('dataset = "digits"', 'datasets = "digits"', "data.datasets: unknown key; did you mean data.dataset"),
        ('dataset = "digits"', "", "data.dataset: missing"),
    ],
)
def test_a_mistake_in_a_figure_is_explained(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in SCORE
    with pytest.raises(ConfigError, match=expected):
        load_figure(write(tmp_path, SCORE.replace(old, new)))


def test_a_published_score_belongs_to_a_figure_of_scores(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="published: found with figure = 'grid'; expected figure = 'score'"):
        load_figure(write(tmp_path, SCORE.replace('"score"', '"grid"')))
