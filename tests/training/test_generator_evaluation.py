"""What the server measures of a generator: the same images every time, scored as torch-fidelity does, and a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from fedsec.metrics.generation import Features, generation_scores
from fedsec.training.generator_evaluation import GeneratorEvaluator
from fedsec.training.parameters import get_arrays
from fedsec.training.pictures import write_picture

REAL = np.random.default_rng(0).integers(0, 256, (60, 3, 4, 4), dtype=np.uint8)


class Shade(nn.Module):
    """Images of one shade each, its weight plus the first of the noise."""

    def __init__(self, shade: float) -> None:
        super().__init__()
        self.shade = nn.Parameter(torch.tensor([shade]))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (self.shade + z[:, :1, None, None]).clamp(-1, 1).expand(-1, 3, 4, 4)


class Corners:
    """An extractor of four pixels, which may fail."""

    def __init__(self, value: float = 1.0) -> None:
        self.name, self.value = "corners", value

    def __call__(self, images: NDArray[np.uint8]) -> Features:
        rows = images[:, 0, ::3, ::3].reshape(len(images), 4).astype(np.float64) * self.value
        return Features(rows, rows / 255, self.name)


def evaluator(*extractors: Corners, images: int = 40) -> GeneratorEvaluator:
    return GeneratorEvaluator(Shade(9.0), 2, REAL, extractors or (Corners(),), images, 3, torch.device("cpu"))


def test_the_images_are_those_of_the_arrays_and_always_of_the_same_noise() -> None:
    measure, dark, bright = evaluator(), get_arrays(Shade(-5.0)), get_arrays(Shade(5.0))
    assert measure.draw(dark).max() == 0
    assert measure.draw(bright).min() == 255
    middle = get_arrays(Shade(0.0))
    np.testing.assert_array_equal(measure.draw(middle), evaluator().draw(middle))
    np.testing.assert_array_equal(measure.draw(middle, 5), measure.draw(middle)[:5])


def test_the_scores_are_torch_fidelity_s_on_the_same_features() -> None:
    measure, extract = evaluator(), Corners()
    images = measure.draw(get_arrays(Shade(0.0)))
    [scores] = measure.scores(images)
    expected = generation_scores(extract(images), extract(REAL))
    assert scores["fid"] == pytest.approx(expected.fid, rel=1e-6)
    assert (scores["kid"], scores["features"]) == (pytest.approx(expected.kid, rel=1e-6), "corners")
    assert scores["subset_size"] == 40


def test_what_cannot_be_scored_is_said_and_ends_nothing() -> None:
    measure = evaluator(Corners(), Corners())
    measure.extractors[1].value = np.inf  # type: ignore[attr-defined]
    with np.errstate(invalid="ignore"):
        first, second = measure.scores(measure.draw(get_arrays(Shade(0.0))))
    assert "fid" in first
    assert second.keys() == {"features", "error"}
    assert "finite" in second["error"]


def test_a_picture_has_the_first_64_images(tmp_path: Path) -> None:
    measure = evaluator(images=70)
    write_picture(measure.draw(get_arrays(Shade(0.0))), tmp_path / "generated" / "000003.png")
    with Image.open(tmp_path / "generated" / "000003.png") as picture:
        assert picture.size == (8 * 5 - 1, 8 * 5 - 1)
