"""The detector on duty: trained once, checked in rounds to come, refreshed when it has aged, resumed as it was."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from fedsec.defenses.gancrop.detector import NONE, DetectorOptions, calibrate
from fedsec.inspectors.public import PublicData
from fedsec.inspectors.shadows import ShadowMaker, Shadows
from fedsec.inspectors.watch import (
    APART,
    FEWEST,
    MOVED,
    WINDOW,
    WRONG,
    YOUNG,
    Watch,
    WatchOptions,
    at_most_half,
    places,
)
from fedsec.strategies.inspecting import Inspected
from fedsec.training.classifier import TrainingSettings
from fedsec.training.parameters import get_arrays
from fedsec.training.shadows import Shadow
from tests.backdoored import TARGET, TRIGGER, network, public
from tests.inspectors.rounds import arrays_of, moved, round_of

QUICK = DetectorOptions(steps=30)
SETTINGS = TrainingSettings(epochs=1, batch_size=16, learning_rate=0.05)


class Scripted(ShadowMaker):
    """Makes shadows at no cost: updates of noise, in which a poisoned one changes few weights much."""

    heavy: float = 1.0
    took: float = 1.0

    def make(self, layout: Any, examples: Any, clean: int, poisoned: int, rng: Any) -> Iterator[Shadows]:
        flags = np.arange(clean + poisoned) >= clean
        deltas = (0.01 * rng.standard_normal((len(flags), layout.width))).astype(np.float32)
        for name in ("fc1.weight", "fc2.weight"):
            start = layout.row[name].start
            deltas[flags, start : start + 10] += self.heavy
        kept = ~flags | (rng.random(len(flags)) < self.took)
        first = int(kept.sum()) // 3
        for part in (slice(first), slice(first, None)):
            yield Shadows(deltas[kept][part], flags[kept][part])


def watch(
    shadows: int = 40, checks: int = 4, heavy: float = 1.0, took: float = 1.0, options: DetectorOptions = QUICK
) -> Watch:
    kind = type("Maker", (Scripted,), {"heavy": heavy, "took": took, "__slots__": ()})
    return Watch(kind(public(), SETTINGS), WatchOptions(shadows, checks, options))


@lru_cache
def scripted_round(heavy: float = 1.0, attackers: int = 2) -> Inspected:
    """Return a round of seven clients of whom the first ones change few weights much."""
    sent = arrays_of(False)
    seen = round_of([moved(sent, seed, 0.01) for seed in range(7)], sent)
    for name in ("fc1.weight", "fc2.weight"):
        start = seen.layout.row[name].start
        seen.updates.deltas[:attackers, start : start + 10] += heavy
    return seen


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_before_it_has_learned_nobody_is_suspected() -> None:
    assert not watch().scores(scripted_round()).any()


def test_who_looks_like_poisoned_shadows_scores_above_0_and_others_do_not() -> None:
    one = watch()
    report = one.learn(scripted_round(), rng())
    assert report == {"trained": True, "shadows": 40}
    assert (one.scores(scripted_round()) > 0.0).tolist() == [True] * 2 + [False] * 5
    assert (one.scores(scripted_round(attackers=0)) > 0.0).sum() <= 1


def test_it_is_checked_often_while_it_is_young_and_stays_while_it_fits() -> None:
    one = watch()
    one.learn(scripted_round(), rng())
    detector, made, most = one.detector, 0, YOUNG + 2 * APART
    for server_round in range(1, most + 1):
        report = one.learn(scripted_round(), rng(server_round))
        assert report["shadows"] == (4 if server_round <= YOUNG or server_round % APART == 0 else 0)
        made += report["shadows"]
        assert report["check"]["of"] == min(made, WINDOW)
        assert "trained" not in report
    assert made == 4 * (YOUNG + 2)
    assert one.detector is detector


def test_one_that_misses_poisoned_shadows_is_trained_anew_once_there_are_enough_to_tell() -> None:
    one = watch()
    one.learn(scripted_round(), rng())
    one.maker = watch(heavy=0.0).maker  # from now on a poisoned one looks like a clean one
    reports = [one.learn(scripted_round(), rng(server_round)) for server_round in range(1, 4)]
    assert 2 * 2 < FEWEST <= 3 * 2  # two poisoned ones a round
    assert [report.get("trained") for report in reports] == [None, None, True]
    assert reports[2]["check"]["missed"] > WRONG
    assert reports[2]["shadows"] == 4 + 20


def test_one_of_a_model_that_was_far_less_accurate_is_trained_anew_at_once_and_only_then() -> None:
    one, moves = watch(), []
    one.learn(untrained_round(), rng())
    for server_round in (1, 2):
        report = one.learn(scripted_round(), rng(server_round))
        moves.append(report["check"]["moved"])
        assert report.get("trained") == (True if server_round == 1 else None)
    assert moves[0] > MOVED
    assert moves[1] == 0.0


def test_clean_shadows_of_every_round_set_the_threshold_anew() -> None:
    options = replace(QUICK, false_alarms=0.3)
    one = watch(options=options)
    one.learn(scripted_round(), rng())
    assert one.detector is not None
    first = float(one.detector.threshold)
    for server_round in range(1, 5):
        one.learn(scripted_round(), rng(server_round))
    assert float(one.detector.threshold) != first
    clean, places = ~one.state()["poisoned"], one.state()["places"]
    assert sorted(places[clean]) == sorted([*range(5)] * 4 + [NONE] * 8)  # twenty, and those of four more rounds
    fresh = watch(options=options)
    fresh.load_state(one.state())
    assert fresh.detector is not None
    calibrate(fresh.detector, one.state()["known"][clean], places[clean].astype(int), options.false_alarms)
    assert float(fresh.detector.threshold) == float(one.detector.threshold)


def test_few_poisoned_shadows_that_were_missed_do_not_make_it_old() -> None:
    one = watch(checks=4)
    one.learn(scripted_round(), rng())
    one.maker = watch(heavy=0.0, took=0.3).maker  # hardly a backdoor takes, and those that do are not seen
    reports = [one.learn(scripted_round(), rng(server_round)) for server_round in range(1, 5)]
    poisoned = one.state()["poisoned"][-one.state()["recent"][0] :]
    assert 0 < poisoned.sum() < FEWEST
    assert all("trained" not in report for report in reports)


def untrained_round() -> Inspected:
    untrained = get_arrays(network())
    return round_of([moved(untrained, seed, 0.01) for seed in range(7)], untrained)


def test_without_checks_it_is_trained_again_only_as_the_model_becomes_better_or_worse() -> None:
    one = watch(checks=0)
    rounds = [scripted_round(), scripted_round(), untrained_round(), untrained_round(), scripted_round()]
    reports = [one.learn(seen, rng(number)) for number, seen in enumerate(rounds)]
    assert [report.get("trained") for report in reports] == [True, None, True, None, True]
    assert [report["shadows"] for report in reports] == [40, 0, 20, 0, 20]


def test_no_more_than_half_of_a_round_is_called_and_the_order_stays() -> None:
    for scores, called in (([3.0, 1.0, 2.0, 4.0, -1.0], 2), ([3.0, -1.0, -2.0], 1), ([5.0, 5.0, 5.0, 5.0], 0)):
        found = at_most_half(np.array(scores))
        assert (found > 0.0).sum() == called
        assert np.array_equal(np.argsort(found, kind="stable"), np.argsort(scores, kind="stable"))
    calm = np.array([0.5, -1.0, -2.0])
    assert np.array_equal(at_most_half(calm), calm)


def test_where_no_backdoor_takes_there_is_no_detector_and_the_next_round_tries_again() -> None:
    one = watch(took=0.0)
    for server_round, clean in enumerate((20, 10, 10)):  # fewer are made again, for each round makes some
        report = one.learn(scripted_round(), rng(server_round))
        assert report == {"trained": False, "shadows": clean}
        assert not one.scores(scripted_round()).any()
    one.maker = watch().maker
    assert one.learn(scripted_round(), rng(3))["trained"]


def test_the_oldest_shadows_are_forgotten() -> None:
    one = watch(shadows=20, checks=15)
    for server_round in range(6):
        one.learn(scripted_round(), rng(server_round))
    assert {len(one.state()[name]) for name in ("known", "poisoned", "places")} == {2 * 20}


@pytest.mark.parametrize("rounds", [0, 1, 3, YOUNG + 1])
def test_a_watch_that_was_resumed_goes_on_as_it_would_have(rounds: int) -> None:
    one, other = watch(took=0.7), watch(took=0.7)
    for server_round in range(rounds):
        one.learn(scripted_round(), rng(server_round))
    other.load_state({name: array.copy() for name, array in one.state().items()})
    for server_round in range(rounds, rounds + 3):
        reports = [which.learn(scripted_round(), rng(server_round)) for which in (one, other)]
        assert reports[0] == reports[1]
        assert np.array_equal(one.scores(scripted_round()), other.scores(scripted_round()))


def test_a_state_of_other_features_is_refused() -> None:
    one = watch()
    one.learn(scripted_round(), rng())
    state = one.state()
    width = state["known"].shape[1]
    wide = np.concatenate([state["known"], state["known"][:, :32]], axis=1)
    with pytest.raises(ValueError, match=f"reads {width} values of an update; the checkpoint has {width + 32} of each"):
        watch().load_state(state | {"known": wide})


def test_order_and_number_of_clients_do_not_change_who_is_suspected() -> None:
    one, order = watch(), [3, 1, 6, 0, 2, 5, 4]
    seen = scripted_round()
    one.learn(seen, rng())
    shuffled = round_of([seen.model_of(row) for row in order], dict(seen.layout.sent))
    np.testing.assert_allclose(one.scores(shuffled), one.scores(seen)[order], atol=1e-3)
    assert one.scores(round_of([seen.model_of(0)], dict(seen.layout.sent))).shape == (1,)


def test_places_are_the_slices_and_shapes_of_the_arrays() -> None:
    layout = scripted_round().layout
    found = places(layout)
    assert list(found) == list(layout.row)
    for name, (part, shape) in found.items():
        assert part.stop - part.start == np.prod(shape) == layout.sent[name].size


@pytest.mark.parametrize("took", [True, False])
def test_real_shadows_start_from_the_model_that_was_sent_and_poisoned_ones_carry_their_backdoor(
    took: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scripted_round()
    monkeypatch.setattr(ShadowMaker, "_took", lambda *given: took)
    (made,) = ShadowMaker(public(), SETTINGS).make(seen.layout, np.array([60, 120]), 4, 4, rng())
    assert made.poisoned.tolist() == [False] * 4 + [True] * (4 * took)
    assert made.deltas.shape == (len(made.poisoned), seen.layout.width)
    lengths = np.linalg.norm(made.deltas, axis=1)
    assert (lengths > 0.0).all()
    assert (lengths < 10.0).all()


def test_a_shadow_that_takes_everything_for_its_target_carries_no_backdoor() -> None:
    maker = ShadowMaker(public(), SETTINGS)
    shadow = Shadow(public().images[:0], public().labels[:0], TRIGGER, TARGET)
    bias = np.zeros(10, np.float32)
    bias[TARGET] = 1e6
    assert maker._took(shadow, TRIGGER, arrays_of(True))
    assert not maker._took(shadow, TRIGGER, arrays_of(False))
    assert not maker._took(shadow, TRIGGER, {**arrays_of(False), "fc3.bias": bias})


def test_a_backdoor_of_a_class_without_images_has_not_taken() -> None:
    given = public()
    some = PublicData(given.network, given.images[:20], given.labels[:20] % 2, 2, given.normalise, torch.device("cpu"))
    shadow = Shadow(given.images[:0], given.labels[:0], TRIGGER, 1, source=5)
    assert not ShadowMaker(some, SETTINGS)._took(shadow, TRIGGER, arrays_of(True))


def test_a_claim_of_a_billion_examples_costs_no_more_than_there_are_public_images() -> None:
    seen = scripted_round()
    (made,) = ShadowMaker(public(), SETTINGS).make(seen.layout, np.array([10**9]), 1, 0, rng())
    assert made.deltas.shape[0] == 1


def test_clean_shadows_alone_can_be_made() -> None:
    seen = scripted_round()
    assert ShadowMaker(public(), SETTINGS).make_clean(seen, rng(), 3).shape == (3, seen.layout.width)
