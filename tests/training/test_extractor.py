"""The classifier whose features stand in for Inception's: trained once for a data set, and no other after it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsec.data.datasets import ImageDataset, load
from fedsec.data.sources import DataError
from fedsec.metrics.generation import ScoreError, generation_scores
from fedsec.training import extractor
from fedsec.training.extractor import classifier_extractor
from tests.training.conftest import Problem


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on few examples."""
    monkeypatch.setattr(extractor, "EXAMPLES", 400)
    monkeypatch.setattr(extractor, "EPOCHS", 1)
    monkeypatch.setattr(extractor, "BATCH_SIZE", 16)


@pytest.fixture
def split(problem: Problem, tmp_path: Path) -> ImageDataset:
    images, labels, normalise = problem
    (tmp_path / "decoded").mkdir()
    return ImageDataset(
        "squares", images.numpy(), labels.numpy(), ("a", "b", "c", "d"), normalise.mean, normalise.std,
        tmp_path / "decoded",
    )  # fmt: skip


def stored(split: ImageDataset) -> list[Path]:
    return sorted(split.folder.glob("features-*.safetensors"))


def test_it_knows_the_classes_and_its_features_tell_them_apart(split: ImageDataset) -> None:
    extract = classifier_extractor(split, split)
    assert extract.accuracy == 100.0
    features = extract(split.images)
    assert features.activations.shape == (40, 128)
    assert features.logits.shape == (40, 4)
    assert features.activations.dtype == features.logits.dtype == np.float64
    means = np.stack([features.activations[split.labels == label].mean(0) for label in range(4)])
    nearest = np.linalg.norm(features.activations[:, None] - means, axis=2).argmin(1)
    assert np.array_equal(nearest, split.labels)


def test_the_logits_are_those_of_the_features(split: ImageDataset) -> None:
    extract = classifier_extractor(split)
    features = extract(split.images)
    layer = extract.network.classify
    expected = features.activations @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    np.testing.assert_allclose(features.logits, expected, atol=1e-4)


def test_the_share_taken_for_the_class_they_were_made_for_is_counted_by_class(split: ImageDataset) -> None:
    extract = classifier_extractor(split)
    made_for = np.where((split.labels == 1) & (np.arange(40) < 20), 3, split.labels)
    found = extract.recognised(split.images, made_for)
    assert found.per_class == [100.0, 100.0, 100.0, pytest.approx(100 * 10 / 15)]
    assert found.overall == pytest.approx(100 * 35 / 40)
    assert extract.recognised(split.images[:1], np.array([2])).per_class == [None, None, 0.0, None]


def test_the_second_call_reads_what_the_first_one_wrote(split: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = classifier_extractor(split, split)
    monkeypatch.setattr(extractor, "train_classifier", None)
    second = classifier_extractor(split)
    assert (second.name, second.accuracy) == (first.name, first.accuracy)
    assert np.array_equal(second(split.images).activations, first(split.images).activations)


def test_two_trainings_give_the_same_bits_whatever_else_was_drawn(split: ImageDataset, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    torch.manual_seed(1)
    one = classifier_extractor(split)
    torch.manual_seed(2)
    other = classifier_extractor(replace(split, folder=tmp_path / "other"))
    assert np.array_equal(one(split.images).activations, other(split.images).activations)
    assert one.name == other.name


def test_of_several_at_once_one_trains_and_the_others_wait(
    split: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    write = extractor._write
    monkeypatch.setattr(extractor, "_write", lambda *arguments: (trained.append(1), write(*arguments)))
    with ThreadPoolExecutor(3) as pool:
        names = set(pool.map(lambda _: classifier_extractor(split).name, range(3)))
    assert len(trained) == len(names) == len(stored(split)) == 1


def test_the_name_tells_the_data_set_and_the_weights_apart_and_no_folder(split: ImageDataset) -> None:
    name = classifier_extractor(replace(split, name="/home/somebody/squares")).name
    assert name.startswith("fedsec classifier, squares, ")
    dark = replace(split, images=split.images // 2, mean=(0.2,))
    assert classifier_extractor(dark).name != name
    assert len(stored(split)) == 2


def test_features_of_one_data_set_are_not_compared_with_those_of_another(split: ImageDataset) -> None:
    one, other = classifier_extractor(split), classifier_extractor(replace(split, name="rings"))
    with pytest.raises(ScoreError, match=r"one extractor; got 'fedsec classifier, squares.*'fedsec classifier, rings"):
        generation_scores(one(split.images), other(split.images))


def test_worse_images_have_worse_scores(split: ImageDataset) -> None:
    extract = classifier_extractor(split)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, split.images.shape, np.uint8)
    real, half, none = (
        generation_scores(extract(images), extract(split.images), subsets=5, subset_size=20)
        for images in (split.images, np.concatenate([split.images[:20], noise[20:]]), noise)
    )
    assert real.fid < half.fid < none.fid
    assert real.kid < half.kid < none.kid
    assert real.features == extract.name


def test_without_a_test_split_there_is_no_accuracy(split: ImageDataset) -> None:
    assert classifier_extractor(split).accuracy is None


def test_a_damaged_file_is_an_error_that_names_it(split: ImageDataset) -> None:
    classifier_extractor(split)
    [path] = stored(split)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    for damage in (bytes(content), content[:100], b""):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=f"feature extractor of 'squares' is damaged .* delete {path}"):
            classifier_extractor(split)


def test_a_training_that_fails_leaves_no_file(split: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "LEARNING_RATE", 1e30)
    with pytest.raises(ScoreError, match="'squares' did not learn: its loss is nan"):
        classifier_extractor(split)
    assert stored(split) == []


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 1, 12, 12), np.float32), "must be uint8 .* got float32"),
        (np.zeros((1, 12, 12), np.uint8), r"got uint8 of shape \(1, 12, 12\)"),
        (np.zeros((0, 1, 12, 12), np.uint8), "at least one"),
        (np.zeros((3, 1, 14, 12), np.uint8), r"takes images of \(1, 12, 12\) .* got \(1, 14, 12\)"),
        (np.zeros((3, 3, 12, 12), np.uint8), r"takes images of \(1, 12, 12\) .* got \(3, 12, 12\)"),
    ],
)
def test_images_that_it_does_not_know_are_refused(split: ImageDataset, images: np.ndarray, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        classifier_extractor(split)(images)


def test_labels_that_it_does_not_know_are_refused(split: ImageDataset) -> None:
    with pytest.raises(ScoreError, match=r"classes 0 to 3; got .* 4 to 4"):
        classifier_extractor(split).recognised(split.images[:1], np.array([4]))


@pytest.mark.slow
def test_it_learns_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("FEDSEC_CACHE", str(tmp_path))
    load.cache_clear()
    extract = classifier_extractor(load("digits", "train"), load("digits", "test"))
    load.cache_clear()
    assert extract.accuracy is not None
    assert extract.accuracy > 97
