"""The command that measures GANcrop's detector and its repairs: its pure parts, and what it prints."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import gancrop_detection, gancrop_federation, gancrop_recovery
from benchmarks.gancrop_detection import area, centred, contrastive, lines, measured, regression
from benchmarks.gancrop_models import (
    CLEAN,
    HELD_OUT,
    LEARNED,
    ODD,
    Study,
    draw_tests,
    held_out_trigger,
)
from benchmarks.gancrop_readers import every_array
from benchmarks.gancrop_recovery import Attempt, averaged, choose
from benchmarks.gancrop_setting import Setting
from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.inspectors.public import PublicData
from fedsec.inspectors.repair import Repaired
from fedsec.models.classifiers import build_classifier
from fedsec.training.batches import Normalisation
from fedsec.training.classifier import TrainingSettings
from fedsec.training.shadows import Shadow
from tests.made_up_models import SHAPE, holding, made_up_study, models


@pytest.fixture
def study() -> Study:
    return made_up_study()


def test_the_area_is_how_often_a_poisoned_model_has_the_higher_score() -> None:
    poisoned = np.array([True, True, False, False])
    assert area(np.array([3.0, 1.0, 2.0, 0.0]), poisoned) == 0.75
    assert area(np.zeros(4), poisoned) == 0.5
    assert np.isnan(area(np.zeros(4), np.ones(4, bool)))


def test_what_is_read_is_measured_from_the_median_of_its_group_and_its_attackers() -> None:
    read = np.array([[1.0], [3.0], [5.0], [100.0], [10.0], [30.0]])
    groups = np.array([False, False, False, False, True, True])
    clean = np.array([True, True, True, False, True, False])
    assert centred(read, groups, clean, 0.0).ravel().tolist() == [-2.0, 0.0, 2.0, 97.0, 0.0, 20.0]
    # One of four is poisoned: the median of 1, 3, 5 and 100.
    assert centred(read, groups, clean, 0.25).ravel().tolist() == [-3.0, -1.0, 1.0, 96.0, 0.0, 20.0]
    assert read[0, 0] == 1.0


def test_models_whose_backdoor_does_not_work_do_not_count() -> None:
    tested = models([CLEAN, CLEAN, "patch", "patch", "centre"], [np.nan, np.nan, 90.0, 20.0, 90.0])
    found = measured(np.array([-1.0, 1.0, 2.0, -9.0, -0.5]), tested)
    assert (found.auc, found.auc_off_centre, found.false_alarms, found.detected) == (0.75, 1.0, 50.0, 50.0)
    assert (found.auc_every, np.isnan(found.auc_one)) == (0.75, True)


def test_half_of_the_tests_are_poisoned_with_what_no_shadow_has() -> None:
    even, skewed = holding(list(range(10)) * 30), holding([1] * 100 + [2] * 100)
    drawn = list(draw_tests([even], [skewed], 48, 10, np.random.default_rng(0)))
    poisoned = [(shadow, kind) for shadow, kind, _ in drawn if kind != CLEAN]
    assert len(poisoned) == 24
    assert {kind for _, kind in poisoned} == set(HELD_OUT)
    assert not set(HELD_OUT) & set(LEARNED)
    assert {shadow.target for shadow, _ in poisoned} <= set(ODD)
    assert all(shadow.trigger is None for shadow, kind, _ in drawn if kind == CLEAN)
    assert sum(skew for _, _, skew in drawn) == 24


def test_an_unknown_kind_of_trigger_is_refused() -> None:
    with pytest.raises(ValueError, match="no kind of trigger: 'laser'"):
        held_out_trigger("laser", SHAPE, np.random.default_rng(0))


@pytest.mark.parametrize("judge", [contrastive, regression])
def test_either_judge_tells_apart_what_is_plain(judge: gancrop_detection.Judge, study: Study) -> None:
    values = gancrop_detection.judged(study, every_array(study.shadows, study.layout), judge, 0.03)
    found = measured(values, study.tests)
    assert found.auc == 1.0
    assert found.detected == 100.0


def test_models_to_repair_are_of_every_kind_in_turn() -> None:
    tested = models([CLEAN, CLEAN, "patch", "patch", "blend", "centre"], [np.nan, np.nan, 90.0, 90.0, 90.0, 10.0])
    assert choose(tested, 3) == [0, 2, 4]
    assert choose(tested, 99) == [0, 1, 2, 3, 4]
    assert choose(tested, 0) == []


def test_means_leave_out_what_does_not_apply_and_refused_and_used_ones_are_counted() -> None:
    used = Attempt(100.0, 0.0, np.nan, true_before=90.0, true_after=4.0, true_left=4.0, lost=-1.0, lost_public=1.0)
    refused = Attempt(0.0, 100.0, 0.25, true_before=80.0, true_left=80.0, lost_public=9.0, seconds=2.0)
    cells = averaged([used._replace(refused=0.0, used=1.0, seconds=1.0), refused._replace(refused=1.0, used=0.0)])
    assert cells == ["50", "50", "0.25", "", "", "85", "4", "42", "-1.0", "5.0", "1", "1", "1.5"]
    assert averaged([Attempt(0.0, 0.0, np.nan)])[-3:] == ["", "", ""]


@pytest.mark.parametrize(
    ("holds", "named", "left", "lost", "refused"),
    [(True, True, 0.0, 0.0, 0.0), (False, True, 70.0, np.nan, 1.0), (False, False, 70.0, np.nan, 0.0)],
)
def test_a_model_that_is_not_repaired_keeps_its_backdoor(
    holds: bool, named: bool, left: float, lost: float, refused: float, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = int(np.flatnonzero(study.tests.poisoned)[0])
    study.tests.arrays.extend({"made by": np.array([number])} for number in range(len(study.tests.kinds)))
    flat = np.zeros((28, 28), np.float32)
    trigger = RecoveredTrigger(study.tests.shadows[place].target, flat, flat[None], 95.0)
    found = SimpleNamespace(outstanding=trigger if named else None, report={"success": 95.0})
    report = {"accuracy_before": 80.0, "accuracy_after": 75.0} if named else {"accuracy_before": 80.0}
    repaired = Repaired({"repaired": np.zeros(1)} if holds else None, report)
    scripted = SimpleNamespace(find=lambda *given: found, repair=lambda *given: repaired)
    monkeypatch.setattr(gancrop_recovery, "TriggerSearch", lambda *given: scripted)
    monkeypatch.setattr(gancrop_recovery, "Repairer", lambda *given: scripted)
    monkeypatch.setattr(gancrop_recovery, "trusted_model", lambda *given: {})
    monkeypatch.setattr(
        gancrop_recovery, "_measured", lambda study, arrays, shadow: (80.0, 0.0 if "repaired" in arrays else 70.0)
    )
    attempt = gancrop_recovery.gancrop(study, place, 0, np.zeros(12))
    assert (attempt.true_before, attempt.true_left, attempt.refused) == (70.0, left, refused)
    assert attempt.used == float(holds)
    np.testing.assert_equal((attempt.lost, attempt.lost_public), (lost, 5.0 if named else np.nan))


def test_the_command_prints_and_keeps_what_was_found(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings: list[Setting] = []
    monkeypatch.setattr(gancrop_detection, "make_study", lambda setting: settings.append(setting) or study)
    for method in ("gancrop", "cleansed"):
        monkeypatch.setattr(gancrop_recovery, method, lambda *given: Attempt(100.0, 100.0, 0.5, seconds=1.0))
    monkeypatch.setattr(sys, "argv", ["gancrop_detection", "--round", "3", "--recover", "2", "--out", str(tmp_path)])
    gancrop_detection.main()
    printed = capsys.readouterr().out
    assert (settings[0].round, settings[0].dataset, settings[0].training.epochs) == (3, "fashion_mnist", 4)
    assert "`python -m benchmarks.gancrop_detection --round 3 --recover 2`" in printed
    assert "| every array, by its shape (GANcrop) | contrast | 1.000 |" in printed
    assert "| Neural Cleanse | patch | 1 | 100 | 100 | 0.50 |" in printed
    poisoned = sum(study.tests.poisoned[place] for place in choose(study.tests, 2))
    assert f"| Neural Cleanse | every poisoned one | {poisoned} | 100 | 100 | 0.50 |" in printed
    assert (tmp_path / "gancrop_fashion_mnist_lenet5_3.md").read_text() == printed


def test_a_detector_may_have_learned_in_an_earlier_round(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings: list[Setting] = []
    monkeypatch.setattr(gancrop_detection, "make_study", lambda setting: settings.append(setting) or study)
    arguments = ["gancrop_detection", "--round", "3", "--trained-at", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    gancrop_detection.main()
    printed = capsys.readouterr().out
    assert (settings[0].shadow_round, settings[0].round) == (2, 3)
    assert "`python -m benchmarks.gancrop_detection --round 3 --trained-at 2`" in printed
    assert "96 shadows of round 2 on" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["gancrop_fashion_mnist_lenet5_3_trained_at_2.md"]
    monkeypatch.setattr(sys, "argv", ["gancrop_detection", "--round", "3", "--trained-at", "4"])
    with pytest.raises(SystemExit):
        gancrop_detection.main()
    assert "--trained-at: expected a round from 0 to 3; got 4" in capsys.readouterr().err


def test_too_few_shadows_are_said_to_be_too_few(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = replace(study, shadows=models([CLEAN, "drawn"] * 15, [float("nan"), 10.0] * 15))
    monkeypatch.setattr(gancrop_detection, "make_study", lambda setting: spoilt)
    *_, header, _, last = lines(Setting("digits", "lenet5", 2), 2, 0.05, "the command")
    assert "backdoors 0 % of 15 work by the server's own rule" in header
    assert "Of the tested backdoors 50 % of 6 work" in header
    assert last == "Too few shadows can be used to learn from them."


def test_models_are_trained_told_apart_and_repaired_for_real() -> None:
    setting = Setting("digits", "lenet5", 2, 4, 1.0, 200, 60, 12, 0, TrainingSettings(8, 16, 0.1), "cpu", trained_at=1)
    printed = list(lines(setting, 2, 0.05, "the command"))
    rows = [line for line in printed if line.startswith("| every array, by its shape (GANcrop)")]
    assert len(rows) == 4  # by two judges, in two tables
    assert sum(line.startswith(("| GANcrop |", "| Neural Cleanse |")) for line in printed) >= 2


def test_a_federation_goes_on_from_what_was_kept_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Setting("digits", "lenet5", 2, 3, 1.0, 100, 8, 4, 0, TrainingSettings(1, 16, 0.1), "cpu")
    network = build_classifier("lenet5", 1, 28, 10, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (60, *SHAPE), np.uint8)
    public = PublicData(network, images, np.arange(60) % 10, 10, Normalisation((0.5,), (0.5,)), torch.device("cpu"))
    held = [Shadow(images[first::3], (np.arange(60) % 10)[first::3]) for first in range(3)]
    first, expected = gancrop_federation.federation(public, held, replace(whole, trained_at=1))
    kept = replace(whole, keep=tmp_path)
    gancrop_federation.federation(public, held, replace(kept, round=1))
    assert len(list(tmp_path.iterdir())) == 1
    rounds: list[int] = []
    train = gancrop_federation.trained
    monkeypatch.setattr(gancrop_federation, "trained", lambda *given: rounds.append(1) or train(*given))
    earlier, found = gancrop_federation.federation(public, held, replace(kept, trained_at=1))
    assert len(rounds) == 1
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(earlier[name], first[name])
    same, found = gancrop_federation.federation(public, held, kept)
    assert len(rounds) == 1
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(same[name], array)
    gancrop_federation.federation(public, held, replace(kept, seed=1))
    assert len(rounds) == 3
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SystemExit, match=r"0002\.safetensors: .*Delete it"):
        gancrop_federation.federation(public, held, kept)
