"""Every extractor that there is scores the images, and the page on it says how."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedsec.data.datasets import load
from fedsec.metrics.generation import Features
from fedsec.training import extractor, generated_only, scoring
from fedsec.training.inception import WeightsError
from fedsec.training.scoring import extractors_of, scores_of
from tests.pages import code

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "scores.md"


class Brightness:
    """Mean and deviation of an image as features; stands for Inception."""

    name = "brightness"

    def __call__(self, images: np.ndarray) -> Features:
        rows = images.reshape(len(images), -1) / 255
        return Features(np.stack([rows.mean(1), rows.std(1)], axis=1), np.zeros((len(rows), 2)), self.name)


@pytest.fixture(autouse=True)
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for one pass over few examples, and look for no weights of Inception but those that a test names."""
    monkeypatch.setattr(extractor, "EXAMPLES", 1)
    monkeypatch.setattr(generated_only, "EXAMPLES", 1)
    monkeypatch.setattr(extractor, "EPOCHS", 1)
    monkeypatch.setattr("fedsec.training.inception.get_dir", lambda: str(tmp_path))
    monkeypatch.delenv("FEDSEC_INCEPTION", raising=False)


def test_without_inception_there_are_the_scores_of_the_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    train, test = load("digits", "train"), load("digits", "test")
    [own] = extractors_of(train, test)
    [scores] = scores_of(train.images[:40], test.images[:30], [own])
    assert (scores.features, scores.images, scores.real_images) == (own.name, 40, 30)


def test_with_inception_there_are_both_under_their_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "inception_extractor", lambda device: Brightness())
    train = load("digits", "train")
    scores = scores_of(train.images[:20], train.images[20:60], extractors_of(train))
    assert [one.features.split(",")[0] for one in scores] == ["fedsec classifier", "brightness"]
    assert scores[0].fid != scores[1].fid


def test_a_file_that_is_missing_is_told_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_INCEPTION", "no.pth")
    monkeypatch.setattr(scoring, "classifier_extractor", None)
    with pytest.raises(WeightsError, match=r"found 'no.pth'"):
        extractors_of(load("digits", "train"), device=torch.device("cpu"))


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(code(PAGE, "In Python"), {})
    told = capsys.readouterr().out
    assert told.startswith("fedsec classifier, digits, ")
    assert len(told.splitlines()) == 2
