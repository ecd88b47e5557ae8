"""The adversary's rounds: nothing before it begins, then a generator that outlives each round and stays on its disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsec.clients import Adversary, LocalTask, ReconstructionClient
from fedsec.clients.state import ClientState
from fedsec.data.datasets import load
from fedsec.models.classifiers import build_classifier
from fedsec.training.batches import Normalisation
from fedsec.training.classifier import TrainingSettings
from fedsec.training.parameters import get_arrays
from fedsec.training.reconstruction import ReconstructionSettings

SETTINGS = ReconstructionSettings(victim=1, start_accuracy=0.01, updates=3, batch_size=4, fakes=20)


@pytest.fixture
def parameters() -> list[np.ndarray]:
    return list(get_arrays(build_classifier("reconstruction", 1, 28, 10, seed=1)).values())


@pytest.fixture
def adversary(nothing: LocalTask, tmp_path: Path) -> ReconstructionClient:
    task = replace(
        nothing,
        model=build_classifier("reconstruction", 1, 28, 10, seed=0),
        normalise=Normalisation((0.5,), (0.5,)),
        settings=TrainingSettings(1, 16, 0.005, optimiser="adam"),
    )
    test = load("digits", "test")
    return ReconstructionClient(task, Adversary(SETTINGS, range(2, 6), test.images, test.labels, tmp_path / "state"))


def with_start(client: ReconstructionClient, accuracy: float) -> ReconstructionClient:
    settings = replace(SETTINGS, start_accuracy=accuracy)
    return ReconstructionClient(client.task, replace(client.adversary, settings=settings))


def fit(client: ReconstructionClient, parameters: list[np.ndarray], server_round: int) -> tuple[Any, int, Any]:
    return client.fit([array.copy() for array in parameters], {"server-round": server_round, "run": "r"})


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("accuracy", "server_round"), [(1.0, 2), (0.01, 1), (0.01, 6)])
def test_before_and_after_the_attack_it_sends_back_what_it_was_sent_and_looks_like_all_others(
    adversary: ReconstructionClient, parameters: list[np.ndarray], accuracy: float, server_round: int
) -> None:
    arrays, examples, told = fit(with_start(adversary, accuracy), parameters, server_round)
    assert same(arrays, parameters)
    assert examples == 20
    assert told.keys() == {"loss"}
    assert 1 < told["loss"] < 5
    assert not adversary.adversary.state.exists()


def test_a_round_of_the_attack_leaves_generator_and_picture_on_its_disk_and_tells_nobody(
    adversary: ReconstructionClient, parameters: list[np.ndarray], tmp_path: Path
) -> None:
    arrays, examples, told = fit(adversary, parameters, 2)
    assert not same(arrays, parameters)
    assert (examples, told.keys()) == (20, {"loss"})
    kept = sorted(str(path.relative_to(tmp_path / "state")) for path in (tmp_path / "state").rglob("*.*"))
    assert kept == ["r/3/000002.safetensors", "r/3/generated/000002.png"]


def test_what_it_sends_takes_generated_images_for_the_extra_class(
    adversary: ReconstructionClient, parameters: list[np.ndarray]
) -> None:
    adversary.adversary = replace(adversary.adversary, settings=replace(SETTINGS, fakes=160))
    _, _, first = fit(adversary, parameters, 2)
    arrays, _, _ = fit(adversary, parameters, 2)
    _, _, second = fit(adversary, arrays, 3)
    assert second["loss"] < first["loss"]


def test_once_begun_it_goes_on_whatever_the_accuracy(
    adversary: ReconstructionClient, parameters: list[np.ndarray]
) -> None:
    fit(adversary, parameters, 2)
    arrays, _, _ = fit(with_start(adversary, 1.0), parameters, 3)
    assert not same(arrays, parameters)


def test_a_round_that_is_done_again_gives_the_same_and_later_pictures_go(
    adversary: ReconstructionClient, parameters: list[np.ndarray]
) -> None:
    state = ClientState.of(adversary.adversary.state, "r", 3)
    once = [fit(adversary, parameters, server_round)[0] for server_round in (2, 3, 4)]
    kept = state.after(3)
    again = fit(adversary, parameters, 3)[0]
    assert same(once[1], again)
    assert not same(once[0], once[1])
    assert same(kept.values(), state.after(3).values())
    assert sorted(path.name for path in (state.folder / "generated").iterdir()) == ["000002.png", "000003.png"]
    assert state.after(4) == {}


def test_with_a_damaged_state_it_begins_anew_at_once(
    adversary: ReconstructionClient, parameters: list[np.ndarray]
) -> None:
    fresh = fit(adversary, parameters, 3)[0]
    state = ClientState.of(adversary.adversary.state, "r", 3)
    (state.folder / "000003.safetensors").unlink()
    (state.folder / "000002.safetensors").write_bytes(b"nothing of the kind")
    assert same(fit(with_start(adversary, 1.0), parameters, 3)[0], fresh)


def test_a_state_of_another_generator_is_as_none(adversary: ReconstructionClient, parameters: list[np.ndarray]) -> None:
    fresh = fit(adversary, parameters, 3)[0]
    ClientState.of(adversary.adversary.state, "r", 3).save(2, {"momentum": np.zeros(3)})
    assert same(fit(adversary, parameters, 3)[0], fresh)


def test_it_evaluates_on_the_test_images(adversary: ReconstructionClient, parameters: list[np.ndarray]) -> None:
    loss, examples, told = adversary.evaluate(parameters, {})
    assert examples == len(load("digits", "test"))
    assert 0 <= told["accuracy"] <= 100
    assert loss > 0
