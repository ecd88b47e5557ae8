"""The scores are torch-fidelity's own, and what the definitions say by hand."""

from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fedsec.metrics.generation import Features, GenerationScores, ScoreError, generation_scores, inception_score

PIXELS = 12


class Pictures(Dataset[torch.Tensor]):
    """Images as torch-fidelity takes them: one tensor after the other."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


class Mixture(torch_fidelity.FeatureExtractorBase):
    """Rectified sums of the pixels of colour images of 2 x 2 as features, and four sums of those as logits."""

    dtype = torch.float64

    def __init__(self, name: str, features_list: list[str], **options: Any) -> None:
        super().__init__(name, features_list)
        rng = np.random.default_rng(5)
        self.mixed, self.summed = (torch.from_numpy(rng.normal(0, 1, shape)) for shape in ((PIXELS, 6), (6, 4)))

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "activations", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "activations"

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        activations = (images.double().flatten(1) / 255 @ self.mixed).relu()
        made = {"activations": activations.to(self.dtype), "logits": (activations @ self.summed).to(self.dtype)}
        return tuple(made[name] for name in self.features_list)


class RoughMixture(Mixture):
    """The same in float32."""

    dtype = torch.float32


torch_fidelity.register_feature_extractor("mixture", Mixture)
torch_fidelity.register_feature_extractor("rough-mixture", RoughMixture)


def pictures(count: int, seed: int, brightest: int = 256) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, brightest, (count, 3, 2, 2), np.uint8))


def features(images: torch.Tensor, extractor: type[Mixture] = Mixture) -> Features:
    activations, logits = extractor("mixture", ["activations", "logits"])(images)
    return Features(activations.numpy(), logits.numpy(), "mixture")


def drawn(count: int, dimensions: int, seed: int, shift: float = 0.0, classes: int = 3) -> Features:
    rng = np.random.default_rng(seed)
    return Features(rng.normal(shift, 1.0, (count, dimensions)), rng.normal(0, 1, (count, classes)), "drawn")


def with_activations(rows: NDArray[np.float64]) -> Features:
    return Features(rows, np.zeros((len(rows), 2)), "by hand")


def with_logits(rows: NDArray[np.float64]) -> Features:
    return Features(np.zeros((len(rows), 2)), rows, "by hand")


@pytest.mark.parametrize(("name", "extractor"), [("mixture", Mixture), ("rough-mixture", RoughMixture)])
@pytest.mark.parametrize(("made", "real", "size"), [(60, 80, 40), (300, 200, 200), (40, 90, 40)])
def test_the_scores_are_those_of_torch_fidelity(
    name: str, extractor: type[Mixture], made: int, real: int, size: int
) -> None:
    ours, theirs = pictures(made, 0, brightest=200), pictures(real, 1)
    expected = torch_fidelity.calculate_metrics(
        input1=Pictures(ours), input2=Pictures(theirs), feature_extractor=name, isc=True, fid=True, kid=True,
        kid_subset_size=size, cuda=False, cache=False, verbose=False, save_cpu_ram=True,
    )  # fmt: skip
    scores = generation_scores(features(ours, extractor), features(theirs, extractor), subset_size=size)
    assert scores == GenerationScores(
        pytest.approx(expected["inception_score_mean"], abs=1e-6),
        pytest.approx(expected["inception_score_std"], abs=1e-6),
        pytest.approx(expected["frechet_inception_distance"], abs=1e-6),
        pytest.approx(expected["kernel_inception_distance_mean"], abs=1e-6),
        pytest.approx(expected["kernel_inception_distance_std"], abs=1e-6),
        made, real, size, "mixture",
    )  # fmt: skip


@pytest.mark.parametrize(("made", "real", "wanted", "used"), [(50, 30, 1000, 30), (20, 60, 1000, 20), (50, 30, 10, 10)])
def test_a_subset_of_kid_is_never_larger_than_the_sample(made: int, real: int, wanted: int, used: int) -> None:
    scores = generation_scores(drawn(made, 3, 0), drawn(real, 3, 1), subset_size=wanted)
    assert scores.subset_size == used


def test_fid_is_the_distance_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (400, 2))
    rows -= rows.mean(0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T  # mean 0, covariance 1
    mixed = np.array([[2.0, 0.0], [1.0, 1.0]])
    covariance = mixed @ mixed.T
    # |m|^2 + tr(1 + S - 2 S^(1/2)), and the roots of S's eigenvalues are the eigenvalues of its root
    expected = 3.0**2 + 4.0**2 + 2 + np.trace(covariance) - 2 * np.sqrt(np.linalg.eigvalsh(covariance)).sum()
    scores = generation_scores(with_activations(rows @ mixed.T + [3.0, 4.0]), with_activations(rows), subsets=1)
    assert scores.fid == pytest.approx(expected, abs=1e-9)


def test_images_without_any_variation_are_as_far_as_their_means() -> None:
    one, other = np.tile([1.0, 2.0], (10, 1)), np.tile([4.0, 6.0], (10, 1))
    assert generation_scores(with_activations(one), with_activations(other)).fid == pytest.approx(25.0)


def test_the_inception_score_is_one_where_every_image_looks_alike_and_the_number_of_classes_at_best() -> None:
    alike, distinct = np.zeros((40, 5)), 60.0 * np.tile(np.eye(5), (8, 1))
    assert inception_score(with_logits(alike)) == (pytest.approx(1.0), pytest.approx(0.0))
    assert inception_score(with_logits(distinct), splits=1) == (pytest.approx(5.0), 0.0)


def test_the_inception_score_follows_its_definition() -> None:
    logits = np.random.default_rng(2).normal(0, 2, (30, 4))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    order = np.random.RandomState(2020).permutation(30)
    parts = []
    for part in np.split(shares[order], 3):
        divergences = [sum(p * np.log(p / q) for p, q in zip(image, part.mean(0), strict=True)) for image in part]
        parts.append(np.exp(np.mean(divergences)))
    score, spread = inception_score(with_logits(logits), splits=3)
    assert (score, spread) == (pytest.approx(np.mean(parts)), pytest.approx(np.std(parts)))


def test_kid_follows_its_definition() -> None:
    one, other = drawn(7, 3, 0), drawn(7, 3, 1, shift=0.5)

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float((a @ b / 3 + 1) ** 3)

    def within(rows: NDArray[np.float64]) -> float:
        return float(np.mean([kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]))

    across = np.mean([kernel(a, b) for a in one.activations for b in other.activations])
    scores = generation_scores(one, other, splits=1, subsets=3)
    assert scores.kid == pytest.approx(within(one.activations) + within(other.activations) - 2 * across)
    assert scores.kid_std == pytest.approx(0.0, abs=1e-12)


def test_kid_is_zero_on_average_for_images_of_one_distribution_and_not_for_others() -> None:
    def mean(shift: float) -> tuple[float, float]:
        found = [generation_scores(drawn(20, 4, s, shift), drawn(20, 4, 999 + s), subsets=1).kid for s in range(30)]
        return float(np.mean(found)), float(np.std(found) / np.sqrt(len(found)))

    same, error = mean(0.0)
    assert abs(same) < 4 * error
    other, error = mean(0.7)
    assert other > 5 * error


@settings(max_examples=12)
@given(st.integers(10, 40), st.integers(2, 40), st.integers(2, 5), st.integers(0, 99))
def test_scores_are_where_they_can_be(made: int, real: int, dimensions: int, seed: int) -> None:
    one, other = drawn(made, dimensions, seed), drawn(real, dimensions, seed + 1)
    scores = generation_scores(one, other, subsets=2)
    assert 1 - 1e-9 <= scores.inception_score <= 3
    # The root of a rounding error of 1e-16 of a singular covariance is 1e-8.
    assert scores.fid > -1e-5
    assert generation_scores(one, one, subsets=2).fid == pytest.approx(0.0, abs=1e-5)
    assert generation_scores(other, one, splits=1, subsets=2).fid == pytest.approx(scores.fid, abs=1e-5)


def test_the_scores_of_the_same_features_are_the_same() -> None:
    one, other = drawn(50, 4, 0), drawn(50, 4, 1)
    assert generation_scores(one, other, subset_size=20) == generation_scores(one, other, subset_size=20)


def test_scores_do_not_change_the_features() -> None:
    one, other = drawn(50, 4, 0), drawn(50, 4, 1)
    before = [rows.copy() for rows in (one.activations, one.logits, other.activations, other.logits)]
    generation_scores(one, other)
    after = (one.activations, one.logits, other.activations, other.logits)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_features_may_lie_in_memory_as_they_like() -> None:
    one, other = drawn(50, 4, 0), drawn(50, 4, 1)
    reversed_twice = Features(one.activations[::-1].copy()[::-1], np.asfortranarray(one.logits), one.extractor)
    reversed_twice.activations.flags.writeable = reversed_twice.logits.flags.writeable = False
    assert generation_scores(reversed_twice, other) == generation_scores(one, other)


def test_features_of_two_extractors_are_not_compared() -> None:
    images = pictures(20, 0)
    other = Features(features(images).activations, features(images).logits, "another")
    with pytest.raises(ScoreError, match=r"'mixture' \(6 features\) for the generated and 'another' \(6 features\)"):
        generation_scores(features(images), other)


@pytest.mark.parametrize(
    ("made", "real", "options", "message"),
    [
        (5, 20, {}, "Inception Score of 10 parts .* got 5 images"),
        (20, 20, {"splits": 0}, "at least one part"),
        (20, 1, {}, "at least 2 images of each kind.*20 generated and 1 real"),
        (1, 20, {"splits": 1}, "at least 2 images of each kind"),
        (20, 20, {"subset_size": 1}, "subsets of 1"),
        (20, 20, {"subsets": 0}, "0 subsets"),
    ],
)
def test_too_few_images_are_refused(made: int, real: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        generation_scores(drawn(made, 3, 0), drawn(real, 3, 1), **options)


def test_other_numbers_of_features_are_refused() -> None:
    with pytest.raises(ScoreError, match=r"\(3 features\).*\(4 features\)"):
        generation_scores(drawn(20, 3, 0), drawn(20, 4, 1))


@pytest.mark.parametrize(
    ("activations", "logits", "message"),
    [
        (np.zeros((4, 2), np.uint8), np.zeros((4, 2)), "activations must be float32 or float64.*uint8"),
        (np.zeros((4, 2)), np.zeros((4, 2), np.float16), "logits must be float32 or float64.*float16"),
        (np.zeros((4, 1)), np.zeros((4, 2)), r"shape \(images, 2 or more\); got float64 of shape \(4, 1\)"),
        (np.zeros((4, 2, 2)), np.zeros((4, 2)), "activations must be"),
        (np.zeros((4, 2)), np.zeros(4), "logits must be"),
        (np.zeros((4, 2)), np.zeros((5, 2)), "of the same images; got 4 and 5"),
        (np.array([[0, 1], [np.nan, 1], [0, np.inf]]), np.zeros((3, 2)), "activations.* 2 of 3 images have NaN"),
        (np.zeros((3, 2)), np.array([[0, 1], [0, 1], [0, -np.inf]]), "logits must be finite; 1 of 3"),
    ],
)
def test_features_that_are_none_are_refused(activations: Any, logits: Any, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        Features(activations, logits, "by hand")


def test_scores_that_overflow_are_refused() -> None:
    huge = with_activations(np.random.default_rng(0).normal(0, 1e200, (10, 2)))
    with pytest.raises(ScoreError, match="FID is nan: the features are too large"):
        generation_scores(huge, huge)
    with pytest.raises(ScoreError, match="the Inception Score is nan"):
        inception_score(with_logits(np.tile([1000.0, 0.0], (10, 1))))
