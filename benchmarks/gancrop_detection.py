"""Whom GANcrop's detector tells apart: ``python -m benchmarks.gancrop_detection --round 5``; repairs with --recover.

What can be read of an update stands side by side, each read by the contrastive detector and by logistic regression, on
triggers, targets and skews that neither has learned (:mod:`benchmarks.gancrop_models`).
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import gancrop_recovery
from benchmarks.gancrop_models import ATTACKERS, HELD_OUT, TESTED, TOOK, Models, Study, make_study
from benchmarks.gancrop_readers import READERS, Reading, every_array
from benchmarks.gancrop_setting import Setting
from fedsec.defenses.gancrop.detector import DetectorOptions, Values, enough, scores, train_detector, upper_bound
from fedsec.defenses.updates import BoolVector, Vector
from fedsec.inspectors.shadows import MEASURED
from fedsec.inspectors.shadows import TOOK as LEAST
from fedsec.training.classifier import TrainingSettings
from fedsec.training.threads import one_thread

FOLDS = 5
"""Parts of the shadows by which logistic regression sets its threshold, each judged by what learned from the others."""

CENTRE = "centre"
"""The kind of trigger that the paper's server does not learn from, by design."""

Judge = Callable[[Values, BoolVector, Values, float], Vector]


def contrastive(known: Values, poisoned: BoolVector, tested: Values, alarms: float) -> Vector:
    """Return how far models lie above the threshold of GANcrop's detector."""
    options = DetectorOptions(false_alarms=alarms)
    detector = train_detector(known, poisoned, options, torch.Generator().manual_seed(0))
    return scores(detector, tested)


def regression(known: Values, poisoned: BoolVector, tested: Values, alarms: float) -> Vector:
    """Return the same of logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    judged = cross_val_predict(judge, known, poisoned, cv=FOLDS, method="decision_function")
    threshold = upper_bound(np.asarray(judged[~poisoned], np.float64), alarms)
    return np.asarray(judge.fit(known, poisoned).decision_function(tested) - threshold, np.float64)


JUDGES: Mapping[str, Judge] = {"contrast": contrastive, "logistic regression": regression}


class Measured(NamedTuple):
    """How well models are told apart: areas under the ROC curve, and percent of clean and poisoned ones called so."""

    auc: float
    auc_even: float
    auc_skewed: float
    auc_off_centre: float
    auc_every: float
    auc_one: float
    false_alarms: float
    detected: float


def area(values: Vector, poisoned: BoolVector) -> float:
    """Return the area under the ROC curve: how often a poisoned model has more than a clean one, ties half."""
    if poisoned.all() or not poisoned.any():
        return float("nan")
    pairs = values[poisoned][:, None] - values[~poisoned][None, :]
    return float(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def centred(read: Values, groups: BoolVector, clean: BoolVector, attackers: float) -> Values:
    """Return what is read (n, F) from the median of a round: the clean models of its group, and some poisoned ones.

    Args:
        read: what is read.
        groups: (n,) a flag that parts the models into two groups.
        clean: (n,) which are.
        attackers: share of a round's models that is poisoned, below 1; the first ones of the group.
    """
    moved = read.copy()
    for group in (groups, ~groups):
        honest, poisoned = np.flatnonzero(group & clean), np.flatnonzero(group & ~clean)
        if len(honest):
            some = poisoned[: round(len(honest) * attackers / (1.0 - attackers))]
            moved[group] -= np.median(read[np.concatenate([honest, some])], axis=0)
    return moved


def judged(study: Study, reading: Reading, judge: Judge, alarms: float) -> Vector:
    """Return the scores of the tested models; above 0 a model is called poisoned."""
    learned, tested = study.shadows, study.tests
    known = np.nan_to_num(centred(reading(learned), learned.skewed, ~learned.poisoned, 0.0))
    read = np.nan_to_num(centred(reading(tested), tested.skewed, ~tested.poisoned, ATTACKERS))
    return judge(known[learned.usable], learned.poisoned[learned.usable], read, alarms)


def measured(values: Vector, tested: Models) -> Measured:
    """Return how well scores tell the tested models apart; backdoors that do not work are left out."""
    usable, poisoned = tested.usable, tested.poisoned
    one_source = np.array([shadow.source >= 0 for shadow in tested.shadows])
    parts = (
        usable,
        usable & ~tested.skewed,
        usable & tested.skewed,
        usable & (tested.kinds != CENTRE),
        usable & ~one_source,
        usable & (one_source | ~poisoned),
    )
    areas = [area(values[part], poisoned[part]) for part in parts]
    called = values > 0
    shares = [100.0 * float(called[part].mean()) if part.any() else float("nan") for part in _kinds(tested)]
    return Measured(*areas, *shares)


def tables(study: Study, alarms: float) -> Iterator[str]:
    """Yield the lines of the tables of whom is told apart, and by which trigger."""
    heads = (
        "AUC", "Dirichlet 0.7", "label skew 0.5", "without centre", "every class turned", "one class turned",
        "false alarms", "detected",
    )  # fmt: skip
    yield f"| read | judged by | {' | '.join(heads)} |"
    yield "| --- " * (2 + len(heads)) + "|"
    found, missing = {}, []
    for name, reader in READERS.items():
        reading = reader(study.shadows, study.layout)
        if reading is None:
            missing.append(name)
            continue
        for way, judge in JUDGES.items():
            found[name, way] = values = judged(study, reading, judge, alarms)
            numbers = measured(values, study.tests)
            cells = [*(f"{number:.3f}" for number in numbers[:-2]), *(f"{number:.0f} %" for number in numbers[-2:])]
            yield f"| {name} | {way} | {' | '.join(cells)} |"
    yield ""
    yield f"| read | judged by | {' | '.join(f'{kind}, detected' for kind in HELD_OUT)} |"
    yield "| --- " * (2 + len(HELD_OUT)) + "|"
    for (name, way), values in found.items():
        yield f"| {name} | {way} | {' | '.join(_by_kind(values, study.tests))} |"
    if missing:
        yield ""
        yield f"Left out, for the network has no such thing: {'; '.join(missing)}."


def lines(setting: Setting, recover: int, alarms: float, command: str) -> Iterator[str]:
    """Yield the lines of everything that is measured."""
    start = time.perf_counter()
    study = make_study(setting)
    yield f"# GANcrop's detector: {setting.dataset}, {setting.model}, round {setting.round}"
    yield ""
    yield (
        f"`{command}`. {setting.clients} clients without an attack until then, accuracy {study.accuracy:.1f} %. "
        f"{setting.shadows} shadows of round {setting.shadow_round} on {setting.public} public images; of the poisoned "
        f"ones' backdoors {_took(study.shadows)} work by the server's own rule, by which it learns from no others: "
        f"of the source's images among its first {MEASURED} public ones at least {LEAST:g} points more must be taken "
        f"for the target stamped than as they are. {setting.tests} models to test, from clients' partitions, with "
        "triggers and targets that no shadow has. Label skew no shadow has, either; Dirichlet 0.7 is one of the "
        f"shadows' concentrations, so it is not held out. Of the tested backdoors {_took(study.tests)} work, and the "
        f"others are left out: of {TESTED} test images that are not public, those of the source that are not taken for "
        f"the target as they are, stamping must turn more than {TOOK:g} %. "
        f"{100 * alarms:g} % of clean shadows lie above the threshold. "
        f"Models were made in {time.perf_counter() - start:.0f} s."
    )
    yield ""
    if not enough(study.shadows.poisoned[study.shadows.usable]):
        yield "Too few shadows can be used to learn from them."
        return
    yield from tables(study, alarms)
    chosen = gancrop_recovery.choose(study.tests, recover)
    if chosen:
        yield ""
        yield "## What is recovered and unlearned"
        yield ""
        yield gancrop_recovery.ABOUT
        yield ""
        scores_of_all = judged(study, every_array(study.shadows, study.layout), contrastive, alarms)
        yield from gancrop_recovery.table(study, chosen, setting.seed, scores_of_all)


def main() -> None:
    """Measure, print, and keep where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--round", type=int, default=5, help="rounds of a federation without attack before (5)")
    parser.add_argument("--trained-at", type=int, help="round that the detector learns in, not after it (the same)")
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--share", type=float, default=1.0, help="of the training images (1)")
    parser.add_argument("--public", type=int, default=5000, help="test images of the server's own (5000)")
    parser.add_argument("--shadows", type=int, default=96, help="to learn from, half of them poisoned (96)")
    parser.add_argument("--tests", type=int, default=240)
    parser.add_argument("--recover", type=int, default=0, help="models from which triggers are recovered (0)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--alarms", type=float, default=0.05, help="share of clean shadows above the threshold (0.05)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--keep", type=Path, help="folder that keeps the model of every round, to go on from")
    parser.add_argument("--out", type=Path, help="folder that keeps what was found, as gancrop_DATASET_MODEL_ROUND.md")
    given = parser.parse_args()
    if given.trained_at is not None and not 0 <= given.trained_at <= given.round:
        parser.error(f"--trained-at: expected a round from 0 to {given.round}; got {given.trained_at}")
    training = TrainingSettings(given.epochs, given.batch, given.rate)
    setting = Setting(
        given.dataset, given.model, given.round, given.clients, given.share, given.public, given.shadows, given.tests,
        given.seed, training, given.device, given.keep, given.trained_at,
    )  # fmt: skip
    kept = []
    with one_thread():  # as on a server; several wait for each other where it is busy
        for line in lines(setting, given.recover, given.alarms, _command(parser, given)):
            print(line, flush=True)
            kept.append(line)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        learned = "" if given.trained_at is None else f"_trained_at_{given.trained_at}"
        name = f"gancrop_{given.dataset}_{given.model}_{given.round}{learned}.md".replace("/", "_")
        (given.out / name).write_text("\n".join(kept) + "\n")


def _command(parser: argparse.ArgumentParser, given: argparse.Namespace) -> str:
    changed = [
        f"--{key.replace('_', '-')} {value}"
        for key, value in vars(given).items()
        if key not in ("out", "keep") and value != parser.get_default(key)
    ]
    return " ".join(["python -m benchmarks.gancrop_detection", *changed])


def _took(models: Models) -> str:
    """Return the share of the backdoors that work, and of how many."""
    worked = models.usable[models.poisoned]
    return f"{100.0 * float(worked.mean()):.0f} % of {len(worked)}" if len(worked) else "0"


def _kinds(tested: Models) -> tuple[BoolVector, BoolVector]:
    return ~tested.poisoned & tested.usable, tested.poisoned & tested.usable


def _by_kind(values: Vector, tested: Models) -> Iterator[str]:
    for kind in HELD_OUT:
        of_kind = (tested.kinds == kind) & tested.usable
        yield f"{int((values[of_kind] > 0).sum())} of {int(of_kind.sum())}"


if __name__ == "__main__":
    main()
