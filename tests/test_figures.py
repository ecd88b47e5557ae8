"""What a figure shows is what the clients hold, and what their GANs make of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsec import figures
from fedsec.data.balancing import skew
from fedsec.data.generated import Entry
from fedsec.figures import client_samples, gan_scores, generated_grid
from fedsec.filling import Filled, fill
from fedsec.holdings import holding
from fedsec.metrics.classification import ClassAccuracy
from fedsec.runs.figure import Figure, load_figure
from fedsec.runs.loading import ConfigError

SAMPLES = 'title = "Samples"\nfigure = "samples"\n[show]\nimages = 20\n[data]\ndataset = "digits"\nq = 0.8\n'


def figure(tmp_path: Path, text: str, **overrides: object) -> Figure:
    file = tmp_path / "figure.toml"
    file.write_text(text)
    return load_figure(file, {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()})


def test_samples_are_a_client_s_own_images_in_the_proportions_of_its_classes(cache: Path, tmp_path: Path) -> None:
    of = figure(tmp_path, SAMPLES)
    samples = client_samples(of)
    assert [one.client for one in samples] == list(range(10))
    for one in samples:
        held = holding(of.config, one.client)
        own = {image.tobytes(): label for image, label in zip(held.images, held.labels, strict=True)}
        assert [own[image.tobytes()] for image in one.images] == one.labels.tolist()
        assert np.all(np.diff(one.labels) >= 0)
        assert one.class_counts == held.class_counts
        shown, share = np.bincount(one.labels, minlength=10), 20 / sum(one.class_counts)
        assert np.all(np.abs(shown - np.array(one.class_counts) * share) <= 1)


def test_a_client_with_fewer_images_shows_all_of_them(cache: Path, tmp_path: Path) -> None:
    shown = client_samples(figure(tmp_path, SAMPLES, data__share=0.02, show__clients=[3]))
    [one] = shown
    assert len(one.images) == sum(one.class_counts) < 20


GAN = """
title = "GANs"
figure = "{kind}"
[show]
images = 20
clients = [0, 1, 4]
{show}
[data]
dataset = "digits"
q = 0.8
share = 0.1
balance = "cgan"
balance-above = 0.3
fill = 6
[gan]
steps = 4
batch-size = 8
width = 8
latent = 4
"""


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let networks judge that were hardly trained: they have an opinion, and take little time to have it."""
    from fedsec.training import extractor, generated_only

    monkeypatch.setattr(extractor, "EPOCHS", 1)
    monkeypatch.setattr(extractor, "EXAMPLES", 1)
    monkeypatch.setattr(generated_only, "EXAMPLES", 500)


def test_scores_are_of_every_watched_step_of_the_gans_that_fill_the_classes(
    cache: Path, judged: None, tmp_path: Path
) -> None:
    of, told = figure(tmp_path, GAN.format(kind="score", show="")), list[str]()
    scores = gan_scores(of, told.append)
    assert [course.client for course in scores.courses] == [0, 1, 4]
    assert told[:2] == ["client 0: its GAN", "client 0: scores"]
    [features] = scores.real
    for course in scores.courses:
        assert course.steps == (0, 1, 2, 3, 4)
        assert course.scores[features].shape == (5,)
        assert np.all(course.scores[features] >= 1.0)
        assert course.generator_loss.shape == course.critic_loss.shape == (4,)
        assert course.final[0].inception_score == course.scores[features][-1]
        assert course.held == holding(of.config, course.client).class_counts
        assert [share is None for share in course.recognised.per_class] == [not held for held in course.held]
        assert None not in course.taught.per_class
        assert np.mean(course.taught.per_class) == pytest.approx(course.taught.overall, abs=3)  # classes nearly even
    again = gan_scores(of, told.append)
    np.testing.assert_array_equal(again.courses[1].scores[features], scores.courses[1].scores[features])
    entry = fill(of.config, 0, holding(of.config, 0), torch.device("cpu"))
    assert entry.report.kept  # so that a table's runs and its figures train each GAN once


def test_a_grid_has_a_row_for_each_client_and_class_that_it_holds(cache: Path, tmp_path: Path) -> None:
    of = figure(tmp_path, GAN.format(kind="grid", show="classes = [0, 4]"))
    grid = generated_grid(of, list[str]().append)
    held = {client: holding(of.config, client) for client in (0, 1, 4)}
    wanted = [(client, label) for client in held for label in (0, 4) if held[client].class_counts[label]]
    assert [(row.client, int(row.label)) for row in grid.rows] == wanted
    for row in grid.rows:
        own = held[row.client]
        assert row.held == own.class_counts[int(row.label)]
        assert row.made.shape == (20, 1, 28, 28)
        of_class = own.images[own.labels == int(row.label)]
        assert all((of_class == image).all(axis=(1, 2, 3)).any() for image in row.real)
    missing = [client for client in held for label in (0, 4) if not held[client].class_counts[label]]
    assert len(grid.notes) == len(set(missing))


def test_a_client_without_a_gan_is_named_and_left_out(cache: Path, tmp_path: Path) -> None:
    text = GAN.format(kind="grid", show="").replace("clients = [0, 1, 4]", "clients = [0, 1]")
    of = figure(tmp_path, text)
    skews = [skew(np.array(holding(of.config, client).class_counts)) for client in (0, 1)]
    between = replace(of.config.data, balance_above=float(np.mean(skews)))
    grid = generated_grid(replace(of, config=replace(of.config, data=between)), list[str]().append)
    [even, uneven] = np.argsort(skews)
    assert {row.client for row in grid.rows} == {uneven}
    assert f"Client {even} has no GAN: its classes are even enough (data.balance-above = " in " ".join(grid.notes)


@pytest.mark.parametrize(("kind", "draw"), [("score", gan_scores), ("grid", generated_grid)])
def test_a_figure_of_no_gan_at_all_is_an_error(
    kind: str, draw: Callable[..., object], cache: Path, judged: None, tmp_path: Path
) -> None:
    of = figure(tmp_path, GAN.format(kind=kind, show=""), data__balance_above=1.0)
    with pytest.raises(ConfigError, match=r"Client 0 has no GAN: its classes are even enough"):
        draw(of, list[str]().append)


def test_what_left_a_client_without_a_gan_is_told_apart(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = figure(tmp_path, GAN.format(kind="grid", show=""), data__fill=1)
    with pytest.raises(ConfigError, match=r"no class that it holds has fewer images than data\.fill = 1 asks for"):
        generated_grid(of, list[str]().append)
    of = figure(tmp_path, GAN.format(kind="grid", show=""))

    def lost(*given: Any) -> Filled:
        filled = fill(*given)
        return replace(filled, entry=Entry(tmp_path / "elsewhere", {"losses": {"generator": [1.0]}}))

    monkeypatch.setattr(figures, "fill", lost)
    with pytest.raises(ConfigError, match=r"its generator is lost; delete .*elsewhere to train it again"):
        generated_grid(of, list[str]().append)


def test_a_classifier_is_taught_on_the_device_of_the_run(
    cache: Path, judged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = []

    def taught(*given: Any, device: torch.device | None = None) -> ClassAccuracy:
        devices.append(device)
        return ClassAccuracy(0.0, [0.0] * 10)

    monkeypatch.setattr(figures, "accuracy_from_generated", taught)
    gan_scores(figure(tmp_path, GAN.format(kind="score", show=""), federation__device="cpu"), list[str]().append)
    assert devices == [torch.device("cpu")] * 4
