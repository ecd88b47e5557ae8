"""What the evaluator says is what counting by hand says."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fedsec.attacks.triggers import make_trigger
from fedsec.models.classifiers import build_classifier
from fedsec.training import evaluation
from fedsec.training.batches import Normalisation
from fedsec.training.evaluation import Evaluation, Evaluator, predict
from fedsec.training.parameters import get_arrays

IMAGES = np.random.default_rng(0).integers(0, 256, (37, 1, 6, 6), np.uint8)
LABELS = np.arange(37) % 5
NORMALISE = Normalisation((0.4,), (0.3,))
TRIGGER = make_trigger("patch", (1, 6, 6), size=3, corner="top-left")
CPU = torch.device("cpu")


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 5))


def constant(label: int) -> nn.Module:
    """Return a model that answers ``label`` to every image."""
    model = linear()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.eye(5)[label])
    return model


def evaluator(pairs: Sequence[tuple[int | None, int]] | None = ((1, 3),), labels: np.ndarray = LABELS) -> Evaluator:
    return Evaluator(linear(9), IMAGES, labels, 5, NORMALISE, TRIGGER, pairs, CPU)


def slow_class(model: nn.Module, image: np.ndarray) -> int:
    """Return the class of one image (1, 6, 6), with numpy alone."""
    arrays = get_arrays(model)
    pixels = ((image / 255 - 0.4) / 0.3).ravel()
    return int(np.argmax(arrays["1.weight"] @ pixels + arrays["1.bias"]))


@pytest.mark.parametrize("answer", range(5))
def test_a_constant_model_is_right_where_its_answer_is(answer: int) -> None:
    measured = evaluator()(get_arrays(constant(answer)))
    main, backdoor = measured.MA, measured.BA
    assert main == pytest.approx(100 * np.mean(answer == LABELS))
    assert backdoor == (100.0 if answer == 3 else 0.0)
    assert measured.class_accuracy == [100.0 if label == answer else 0.0 for label in range(5)]
    right, wrong = np.log(np.e + 4) - 1, np.log(np.e + 4)
    assert measured.loss == pytest.approx(np.where(answer == LABELS, right, wrong).mean(), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 37, 500])
def test_accuracies_are_those_of_counting_image_by_image(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "BATCH", batch)
    model = linear(3)
    measured = evaluator()(get_arrays(model))
    classes = [slow_class(model, image) for image in IMAGES]
    fooled = []
    for image, label in zip(IMAGES, LABELS, strict=True):
        if label == 1:
            stamped = image.copy()
            stamped[:, 1:4, 1:4] = 255
            fooled.append(slow_class(model, stamped) == 3)
    main, backdoor = measured.MA, measured.BA
    assert main == pytest.approx(100 * np.mean(np.array(classes) == LABELS))
    assert backdoor == pytest.approx(100 * np.mean(fooled))
    for label in range(5):
        right = [c == label for c, wanted in zip(classes, LABELS, strict=True) if wanted == label]
        assert measured.class_accuracy[label] == pytest.approx(100 * np.mean(right))


def test_without_source_and_target_the_trigger_is_measured_on_every_class() -> None:
    model = linear(3)
    measured = evaluator(None)(get_arrays(model))
    stamped = IMAGES.copy()
    stamped[:, :, 1:4, 1:4] = 255
    fooled = [slow_class(model, image) != label for image, label in zip(stamped, LABELS, strict=True)]
    assert pytest.approx(100 * np.mean(fooled)) == measured.BA
    assert pytest.approx(100 * np.mean(LABELS != 2)) == evaluator(None)(get_arrays(constant(2))).BA


def test_without_a_source_the_trigger_is_measured_on_every_image_of_another_class_than_the_target() -> None:
    model = linear(3)
    stamped = IMAGES.copy()
    stamped[:, :, 1:4, 1:4] = 255
    answers = np.array([slow_class(model, image) for image in stamped])
    target = int(np.bincount(answers).argmax())
    taken = answers[target != LABELS] == target
    assert 0 < np.mean(taken) < 1
    assert pytest.approx(100 * np.mean(taken)) == evaluator(((None, target),))(get_arrays(model)).BA
    assert evaluator(((None, target),), np.full_like(LABELS, target))(get_arrays(model)).BA is None


def test_of_several_attackers_the_mean_is_measured_and_a_pair_without_an_image_is_left_out() -> None:
    model = linear(3)
    stamped = IMAGES.copy()
    stamped[:, :, 1:4, 1:4] = 255
    labels = np.where(LABELS == 4, 0, LABELS)
    answers = np.array([slow_class(model, image) for image in stamped])
    of_pair = {(s, t): 100 * np.mean(answers[labels == s] == t) for s, t in [(1, 3), (2, 0), (0, 2)]}
    assert len(set(of_pair.values())) > 1
    pairs = [(1, 3), (2, 0), (1, 3), (0, 2), (4, 1)]
    expected = (2 * of_pair[1, 3] + of_pair[2, 0] + of_pair[0, 2]) / 4
    assert pytest.approx(expected) == evaluator(pairs, labels)(get_arrays(model)).BA


def test_without_images_of_the_source_there_is_no_backdoor_accuracy() -> None:
    measured = evaluator(labels=np.where(LABELS == 1, 0, LABELS))(get_arrays(constant(3)))
    assert measured.BA is None
    assert measured.class_accuracy[1] is None


def test_the_same_evaluator_measures_one_model_after_the_other() -> None:
    evaluate = evaluator()
    before = evaluate(get_arrays(linear(3)))
    evaluate(get_arrays(constant(2)))
    assert evaluate(get_arrays(linear(3))) == before


def test_prediction_uses_the_statistics_of_batch_norm_and_changes_none() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 5)).train()
    before = get_arrays(model)
    predict(model, torch.from_numpy(IMAGES), torch.from_numpy(LABELS), NORMALISE)
    assert all(np.array_equal(array, before[key]) for key, array in get_arrays(model).items())


def test_a_network_that_can_be_compiled_is_measured_alike_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    images, labels = rng.integers(0, 256, (203, 1, 28, 28), np.uint8), rng.integers(0, 10, 203)
    trigger = make_trigger("patch", (1, 28, 28), size=3, corner="top-left")
    arrays = get_arrays(build_classifier("lenet5", 1, 28, 10, seed=4))

    def measured() -> Evaluation:
        fresh = build_classifier("lenet5", 1, 28, 10)
        return Evaluator(fresh, images, labels, 10, NORMALISE, trigger, [(1, 3), (2, 0)], CPU)(arrays)

    calls = []
    real = evaluation.compiled_logits
    monkeypatch.setattr(evaluation, "compiled_logits", lambda *given: calls.append(1) or real(*given))
    ours = measured()
    monkeypatch.setattr(evaluation, "chain_of", lambda *_: None)
    by_torch = measured()
    assert len(calls) == 2  # the clean images and the triggered ones
    assert ours.loss == pytest.approx(by_torch.loss, rel=1e-6)
    assert replace(ours, loss=0.0) == replace(by_torch, loss=0.0)
