"""GANcrop in a round: nobody suspected, everybody, some; what is repaired is used and what is not is left out."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedsec.defenses.gancrop.trigger import overlap
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.defenses.updates import OptionError
from fedsec.inspectors.gancrop import SEVERAL
from fedsec.strategies.gancrop import Gancrop
from fedsec.strategies.inspecting import Arrays, Findings, Inspected
from fedsec.training.parameters import get_arrays
from tests.backdoored import OTHER_TARGET, OTHER_TRIGGER, TARGET, TRIGGER, measured, network, public, trained_otherwise
from tests.inspectors.rounds import arrays_of, moved, round_of
from tests.inspectors.scripted import PLANTED, scripted
from tests.inspectors.told import OPTIONS, QUICK, inspected, told

CROSSED = {"trigger": OTHER_TRIGGER, "trigger-2": TRIGGER}


def mixed_round(*spoilt: Arrays) -> Inspected:
    """Return a round of three honest clients and two with a backdoor, or these; an untrained model was sent."""
    clean = arrays_of(False)
    bad = spoilt or (moved(arrays_of(True), 8), moved(arrays_of(True), 9))
    return round_of([*(moved(clean, seed) for seed in range(3)), *bad])


def accuracies(seen: Inspected, findings: Findings) -> tuple[float, float]:
    return measured(public().load(rebuilt(seen, findings)).eval())


def rebuilt(seen: Inspected, findings: Findings) -> Arrays:
    return seen.rebuild(findings.verdict.delta, findings.verdict.weights > 0.0)


def mean(seen: Inspected, rows: list[int]) -> np.ndarray:
    return np.asarray(seen.updates.deltas[rows].astype(np.float64).mean(axis=0))


def test_nobody_suspected_is_plain_averaging() -> None:
    clean = arrays_of(False)
    seen = round_of([moved(clean, seed) for seed in range(5)], clean)
    findings = inspected(told([]), seen)
    np.testing.assert_allclose(findings.verdict.delta, mean(seen, [0, 1, 2, 3, 4]), atol=1e-6)
    np.testing.assert_allclose(findings.verdict.weights, 0.2)
    assert findings.report["suspects"] == 0
    assert findings.report["repairs"] == findings.report["left_out"] == []
    assert list(findings.models) == ["benign"]
    assert findings.images == findings.masks == {}


def test_a_repaired_average_stands_for_its_clients() -> None:
    seen = mixed_round()
    findings = inspected(told([3, 4], OPTIONS), seen)
    [repair] = findings.report["repairs"]
    assert repair["clients"] == [13, 14]
    assert repair["target"] == TARGET
    assert repair["outcome"] == "repaired"
    np.testing.assert_allclose(findings.verdict.weights, [0.2, 0.2, 0.2, 0.0, 0.0])
    repaired, benign = findings.models["repaired"], findings.models["benign"]
    for name, array in rebuilt(seen, findings).items():
        np.testing.assert_allclose(array, 0.6 * benign[name] + 0.4 * repaired[name], atol=1e-5)
    accuracy, success = accuracies(seen, findings)
    assert success < 20.0
    assert accuracy > 90.0
    assert findings.images["trigger"].shape == (28, 56, 3)
    assert findings.images["trigger"].dtype == np.uint8
    assert overlap(findings.masks["trigger"], TRIGGER.mask) > 0.1
    assert repair["success_before"] > 60.0 > 30.0 > repair["success_after"]
    assert json.loads(json.dumps(findings.report)) == findings.report


def test_whom_the_detector_calls_without_the_trigger_is_left_out_and_not_repaired_with_the_others() -> None:
    clean, bad = arrays_of(False), arrays_of(True)
    models = [*(moved(clean, seed) for seed in range(6)), *(moved(bad, seed) for seed in range(20, 25))]
    findings = inspected(told([0, *range(6, 11)], OPTIONS), round_of(models))
    assert (findings.report["called"], findings.report["suspects"]) == (6, 6)
    [repair] = findings.report["repairs"]
    assert repair["clients"] == list(range(16, 21))
    np.testing.assert_allclose(findings.verdict.weights, [0.0, *[0.1] * 5, *[0.0] * 5])
    assert findings.report["left_out"] == [10]


def test_several_with_another_trigger_stay_suspects_and_are_repaired_with_theirs() -> None:
    clean, bad, other = arrays_of(False), arrays_of(True), get_arrays(trained_otherwise().network)
    models = [*(moved(clean, seed) for seed in range(9)), *(moved(bad, seed) for seed in range(10, 15))]
    models += [moved(other, seed) for seed in range(20, 20 + SEVERAL)]
    findings = inspected(told(list(range(9, 14 + SEVERAL)), OPTIONS), round_of(models))
    repairs = {repair["target"]: repair for repair in findings.report["repairs"]}
    assert repairs[TARGET]["clients"] == list(range(19, 24))
    assert repairs[OTHER_TARGET]["clients"] == list(range(24, 24 + SEVERAL))
    assert all(repair["outcome"] == "repaired" for repair in repairs.values())
    assert findings.report["suspects"] == 5 + SEVERAL


def test_several_without_any_trigger_are_left_out() -> None:
    clean, bad = arrays_of(False), arrays_of(True)
    models = [*(moved(clean, seed) for seed in range(14)), *(moved(bad, seed) for seed in range(20, 32))]
    findings = inspected(told([*range(SEVERAL), *range(14, 26)], OPTIONS), round_of(models))
    [repair] = findings.report["repairs"]
    assert repair["clients"] == list(range(24, 36))
    assert not findings.verdict.weights[:SEVERAL].any()
    np.testing.assert_allclose(findings.verdict.weights[SEVERAL:14], 1 / 23)
    assert findings.report["left_out"] == list(range(10, 10 + SEVERAL))
    [search] = findings.report["searches"]
    assert search["target"] is None


def test_a_loud_model_among_the_suspects_does_not_hide_their_trigger() -> None:
    clean, bad = arrays_of(False), arrays_of(True)
    bias = np.zeros(10, np.float32)
    bias[3] = 1e6
    models = [*(moved(clean, seed) for seed in range(7)), *(moved(bad, seed) for seed in range(20, 24))]
    loud = {**bad, "fc3.bias": bias}
    findings = inspected(told([7, 8, 9, 10, 11], OPTIONS), round_of([*models, loud]))
    assert {repair["target"] for repair in findings.report["repairs"]} == {TARGET}
    assert not findings.verdict.weights[7:].any()


def test_sacrificed_attackers_do_not_hide_the_trigger_of_the_others_by_its_opposite() -> None:
    clean, bad, sent = arrays_of(False), arrays_of(True), get_arrays(network())
    opposite = {name: array - 1e3 * (bad[name] - array) for name, array in sent.items()}
    models = [*(moved(clean, seed) for seed in range(12)), *(moved(bad, seed) for seed in range(20, 28))]
    findings = inspected(told(list(range(12, 22)), OPTIONS), round_of([*models, opposite, opposite]))
    assert TARGET in {repair["target"] for repair in findings.report["repairs"]}
    assert not findings.verdict.weights[12:].any()


def test_a_loud_model_that_nobody_suspects_moves_the_average_no_farther_than_a_few_others() -> None:
    clean, bias = arrays_of(False), np.zeros(10, np.float32)
    bias[3] = 1e6
    models = [moved(clean, seed) for seed in range(4)]
    calm, spoilt = (
        inspected(told([]), round_of([*models, *more])).verdict.delta
        for more in ([], [{**models[0], "fc3.bias": bias}])
    )
    length = float(np.linalg.norm(round_of(models).updates.deltas, axis=1).mean())
    assert np.linalg.norm(spoilt - calm) < 2.0 * length


def test_each_suspect_can_be_repaired_by_itself_from_its_own_trigger() -> None:
    clean, bad, other = arrays_of(False), arrays_of(True), get_arrays(trained_otherwise().network)
    models = [*(moved(clean, seed) for seed in range(4)), bad, other]
    findings = inspected(told([4, 5], replace(OPTIONS, repair="each")), round_of(models))
    assert [repair["clients"] for repair in findings.report["repairs"]] == [[14], [15]]
    assert [repair["target"] for repair in findings.report["repairs"]] == [TARGET, OTHER_TARGET]
    assert list(findings.images) == list(findings.masks) == ["trigger", "trigger-2"]
    for name, trigger in (("trigger", TRIGGER), ("trigger-2", OTHER_TRIGGER)):
        own, crossed = (overlap(findings.masks[name], one.mask) for one in (trigger, CROSSED[name]))
        assert own > crossed


def test_an_honest_suspect_that_is_repaired_by_itself_does_not_make_the_trigger_forgotten() -> None:
    clean, bad = arrays_of(False), arrays_of(True)
    models = [*(moved(clean, seed) for seed in range(9)), moved(bad, 20), moved(bad, 21), moved(clean, 22)]
    inspector = told([9, 10, 11], replace(OPTIONS, repair="each"))
    findings = inspected(inspector, round_of(models))
    assert [repair["target"] for repair in findings.report["repairs"]] == [TARGET, TARGET, None]
    assert inspector.search.known is not None
    assert inspector.search.known.target == TARGET
    assert inspector.search.maker is not None


def test_suspects_can_be_left_out() -> None:
    seen = mixed_round()
    findings = inspected(told([3, 4], replace(QUICK, repair="none")), seen)
    np.testing.assert_allclose(findings.verdict.delta, mean(seen, [0, 1, 2]), atol=1e-6)
    np.testing.assert_allclose(findings.verdict.weights, [1 / 3] * 3 + [0.0] * 2)
    assert findings.report["repairs"] == []


def test_everybody_suspected_and_left_out_leaves_the_model_as_it_was() -> None:
    seen = mixed_round()
    findings = inspected(told([0, 1, 2, 3, 4], replace(QUICK, repair="none")), seen)
    assert not findings.verdict.delta.any()
    assert not findings.verdict.weights.any()
    assert findings.models == {}


def test_everybody_suspected_without_a_trigger_leaves_the_model_as_it_was() -> None:
    seen = mixed_round()
    findings = inspected(told([0, 1, 2, 3, 4]), seen)
    [repair] = findings.report["repairs"]
    assert repair["outcome"] == "left out: no trigger stands out"
    assert not findings.verdict.weights.any()
    assert bool(findings.verdict.delta.any()) == repair["outcome"].startswith("repaired") == bool(findings.models)


def test_where_everybody_is_suspected_those_who_are_repaired_make_up_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, PLANTED)
    clean, bad = arrays_of(False), arrays_of(True)
    seen = round_of([moved(clean, 0), moved(clean, 1), moved(bad, 8), moved(bad, 9)])
    findings = inspected(told([0, 1, 2, 3], OPTIONS), seen)
    [repair] = findings.report["repairs"]
    assert (repair["outcome"], repair["clients"], findings.report["left_out"]) == ("repaired", [12, 13], [10, 11])
    assert not findings.verdict.weights.any()
    assert list(findings.models) == ["repaired"]
    np.testing.assert_allclose(findings.verdict.delta, seen.layout.change(findings.models["repaired"]), atol=1e-6)
    accuracy, success = accuracies(seen, findings)
    assert success < 20.0
    assert accuracy > 85.0


def test_whoever_could_not_be_repaired_is_named_as_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, PLANTED)
    seen, fails = mixed_round(), replace(OPTIONS, unlearning=UnlearningOptions(learning_rate=1e30))
    findings = inspected(told([3, 4], fails), seen)
    [repair] = findings.report["repairs"]
    assert (repair["target"], repair["outcome"]) == (TARGET, "left out: the unlearning did not converge")
    assert repair["clients"] == findings.report["left_out"] == [13, 14]
    np.testing.assert_allclose(findings.verdict.delta, mean(seen, [0, 1, 2]), atol=1e-6)
    assert list(findings.models) == ["benign"]
    assert inspected(told([3, 4], OPTIONS), seen).report["left_out"] == []


@pytest.mark.parametrize(("about", "warnings"), [({"trained": False}, 1), ({"trained": True}, 0), ({}, 0)])
def test_a_detector_that_has_too_little_to_learn_from_is_said_once_in_a_round(
    about: dict[str, bool], warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inspector, seen = told([]), mixed_round()
    monkeypatch.setattr(inspector.watch, "learn", lambda seen, rng: {"shadows": 0, **about})
    for number in (1, 2):
        report = inspected(inspector, seen).report
        said = [record for record in caplog.records if "GANcrop suspects nobody" in record.getMessage()]
        assert len(said) == number * warnings
        assert all((one.name, one.levelname) == ("fedsec.inspectors.gancrop", "WARNING") for one in said)
        assert {key: report[key] for key in about} == about


@pytest.mark.parametrize("value", [1e6, 1e30])
def test_a_suspect_that_is_no_use_is_left_out_and_the_others_make_up_the_model(value: float) -> None:
    bias = np.zeros(10, np.float32)
    bias[3] = value
    seen = mixed_round({**arrays_of(True), "fc3.bias": bias})
    findings = inspected(told([3]), seen)
    [repair] = findings.report["repairs"]
    assert repair["outcome"].startswith("left out: it ")
    assert findings.report["left_out"] == repair["clients"] == [13]
    np.testing.assert_allclose(findings.verdict.delta, mean(seen, [0, 1, 2]), atol=1e-6)
    np.testing.assert_allclose(findings.verdict.weights, [1 / 3] * 3 + [0.0])


def test_one_that_the_detector_let_through_is_told_by_the_trigger_of_the_others() -> None:
    findings = inspected(told([3], OPTIONS), mixed_round())
    assert findings.report["called"] == 1
    assert findings.report["suspects"] == 2
    assert findings.verdict.weights[4] == 0.0


def test_the_updates_are_left_as_they_were() -> None:
    seen = mixed_round()
    before = seen.updates.deltas.copy()
    inspected(told([3, 4]), seen)
    assert np.array_equal(seen.updates.deltas, before)


def test_options_that_make_no_sense_are_refused() -> None:
    for option, value in (
        ("shadows", 19),
        ("checks", -1),
        ("repair", "some"),
        ("recovery_steps", 0),
        ("unlearning_epochs", 0),
        ("false_alarms", 0.0),
        ("false_alarms", 1.0),
        ("false_alarms", float("nan")),
    ):
        with pytest.raises(OptionError, match=f"{option} must be") as raised:
            Gancrop(**{option: value})  # type: ignore[arg-type]
        assert raised.value.option == option
