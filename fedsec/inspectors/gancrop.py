"""GANcrop, joined: detect, recover, unlearn, aggregate.  Paper on GANcrop, section 3 and algorithm 1."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.recovery import RecoveryOptions
from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.defenses.updates import BoolVector, Vector, Verdict
from fedsec.inspectors.carriers import bound, honest_bound, lifts
from fedsec.inspectors.public import PublicData
from fedsec.inspectors.repair import Found, Repairer
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.inspectors.watch import Watch, WatchOptions
from fedsec.strategies.inspecting import Arrays, Findings, Inspected
from fedsec.training.classifier import TrainingSettings
from fedsec.training.threads import one_thread

Repair = Literal["average", "each", "none"]

CANDIDATES = 0.25
"""Share of a round's models, the most suspicious, from whose average a trigger is recovered at least."""

SEVERAL, TENTH = 3, 0.1
"""Suspects whom the trigger that stands out does not explain, and the share of the models that they must be, to be
searched for one of their own: a few clean ones pass the threshold of the detector, and the search takes seconds."""

WARM = 5
"""A recovery that goes on from an earlier one takes 1 / WARM of its steps."""


@dataclass(frozen=True, slots=True)
class GancropOptions:
    """What GANcrop does.

    Attributes:
        watch: how poisoned models are told.
        recovery: how triggers are recovered.
        unlearning: how they are unlearned.
        repair: suspect models are repaired as their ``"average"``, ``"each"`` by itself, or left out, ``"none"``.
            The paper repairs each one. The attackers' average carries their trigger as well, all parts of it where
            they share one out, and costs one repair instead of one for every suspect.
    """

    watch: WatchOptions = field(default_factory=WatchOptions)
    recovery: RecoveryOptions = field(default_factory=RecoveryOptions)
    unlearning: UnlearningOptions = field(default_factory=UnlearningOptions)
    repair: Repair = "average"


class GancropInspector:
    """Tells poisoned models by their updates, repairs them, and averages the others with what was repaired.

    Args:
        public: the network and public images.
        settings: how the clients train; shadows are trained so.
        options: what to do.
    """

    def __init__(self, public: PublicData, settings: TrainingSettings, options: GancropOptions | None = None) -> None:
        self.options = options or GancropOptions()
        self.public = public
        self.watch = Watch(ShadowMaker(public, settings), self.options.watch)
        recovery = self.options.recovery
        warm = max(1, recovery.steps // WARM)
        self.repairer = Repairer(public, recovery, self.options.unlearning, warm)

    def inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        """Return the average of the models judged clean and of the repaired ones."""
        with one_thread():
            return self._inspect(seen, rng)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the detector, what it learned from, and the generator of triggers."""
        return self.watch.state() | self.repairer.state()

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned."""
        self.watch.load_state(state)
        self.repairer.load_state(state)

    def _inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        clock = [time.perf_counter()]
        about = self.watch.learn(seen, rng)
        clock.append(time.perf_counter())
        told = self.watch.scores(seen)
        clock.append(time.perf_counter())
        ranking, _ = self._with_carriers(seen, told)
        trusted = _average(seen, least_suspicious(ranking))
        found = self._find(seen, candidates(ranking), trusted, rng)
        clock.append(time.perf_counter())
        scores, carried = self._with_carriers(seen, told)
        scores, others = self._without_unexplained(seen, scores, carried, found, trusted, rng)
        suspects = scores > 0.0
        clock.append(time.perf_counter())
        repairs = self._repairs(seen, _groups(suspects, found, others), trusted, rng)
        clock.append(time.perf_counter())
        stages = dict(zip(("learn", "detect", "recover", "carriers", "repair"), np.diff(clock).tolist(), strict=True))
        report = {**about, "called": int((told > 0.0).sum()), "suspects": int(suspects.sum()), "seconds": stages}
        report |= {"scores": _by_client(seen, told), "carried": _by_client(seen, carried)}
        report["repairs"] = [repair.report for repair in repairs]
        known = self.repairer.known if suspects.any() else None
        return _findings(seen, scores, suspects, repairs, report, known)

    def _find(self, seen: Inspected, rows: list[int], trusted: Arrays, rng: np.random.Generator) -> Found | None:
        """Return what is recovered from the average of some models; ``None`` without any."""
        if not rows or self.options.repair == "none":
            return None
        generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        return self.repairer.find(_average(seen, rows), trusted, generator)

    def _with_carriers(self, seen: Inspected, scores: Vector) -> tuple[Vector, Vector]:
        """Return the scores, above 0 for those too whose models the last trigger that stood out works on; and by how
        many points it does, empty without one.
        """
        if self.repairer.known is None:
            return scores, np.empty(0)
        found = lifts(self.public, seen, self.repairer.known)
        return np.maximum(scores, (found - bound(found)) / 100.0), found

    def _without_unexplained(
        self,
        seen: Inspected,
        scores: Vector,
        carried: Vector,
        found: Found | None,
        trusted: Arrays,
        rng: np.random.Generator,
    ) -> tuple[Vector, "_Group | None"]:
        """Return the scores without the suspicion that a trigger which stands out does not explain.

        Such models were called by the detector alone, whose threshold some clean ones pass. Several of them may have
        another trigger: then they stay suspects, with that one.
        """
        if found is None or found.recovery is None or found.recovery.outstanding is None:
            return scores, None
        unexplained = (scores > 0.0) & (carried < honest_bound(carried))
        rows = np.flatnonzero(unexplained).tolist()
        if len(rows) >= max(SEVERAL, TENTH * len(scores)):
            generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
            fresh = Repairer(self.public, self.options.recovery, self.options.unlearning, self.options.recovery.steps)
            other = fresh.find(_average(seen, rows), trusted, generator)
            if other.recovery is not None and other.recovery.outstanding is not None:
                return scores, _Group(rows, other)
        cleared = np.minimum(scores, (carried - honest_bound(carried)) / 100.0)
        return np.where(unexplained, cleared, scores), None

    def _repairs(
        self, seen: Inspected, groups: list["_Group"], trusted: Arrays, rng: np.random.Generator
    ) -> list["_Repair"]:
        if self.options.repair == "none":
            return []
        if self.options.repair == "each":
            groups = [_Group([row], None) for group in groups for row in group.rows]
        repairs = []
        for group in groups:
            found = group.found or self._find(seen, group.rows, trusted, rng)
            generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
            if found is not None:
                repaired = self.repairer.repair(_average(seen, group.rows), found, generator)
                clients = [int(seen.updates.node_ids[row]) for row in group.rows]
                repairs.append(_Repair(len(group.rows), repaired.arrays, repaired.report | {"clients": clients}))
        return repairs


@dataclass(frozen=True, slots=True)
class _Group:
    """Suspects that are repaired together, and what was recovered from them, if it was already."""

    rows: list[int]
    found: Found | None


@dataclass(frozen=True, slots=True)
class _Repair:
    """A repaired model and how many clients it stands for."""

    clients: int
    arrays: Arrays | None
    report: dict[str, Any]


def candidates(scores: Vector) -> list[int]:
    """Return the rows from whose average a trigger is recovered: those called poisoned, and the most suspicious.

    Early in a training, and for stealthy attackers, many poisoned models lie below a threshold that clean ones seldom
    pass, and yet above most clean ones. Their average carries the trigger though some of them be clean. Scores of 0 for
    all, where there is no detector yet, are no suspicion.
    """
    most = max(int((scores > 0.0).sum()), round(CANDIDATES * len(scores)))
    ranked = np.argsort(-scores, kind="stable")[:most]
    return sorted(int(row) for row in ranked) if scores.any() else []


def least_suspicious(scores: Vector) -> list[int]:
    """Return the rows of the half of the models with the lowest scores (n,): what of a trigger works on their average
    is natural. What a model of the round before would do says less, for in one round the models learn much.
    """
    return sorted(int(row) for row in np.argsort(scores, kind="stable")[: (len(scores) + 1) // 2])


def _groups(suspects: BoolVector, found: Found | None, others: _Group | None) -> list[_Group]:
    """Return who is repaired together: those with another trigger, and all others."""
    rows = [int(row) for row in np.flatnonzero(suspects) if others is None or row not in others.rows]
    groups = [_Group(rows, found)] if rows else []
    return groups if others is None else [*groups, others]


def _average(seen: Inspected, rows: list[int]) -> Arrays:
    """Return the mean of some clients' models, BatchNorm's statistics included."""
    models = [seen.model_of(row) for row in rows]
    return {
        name: np.mean([model[name].astype(np.float64) for model in models], axis=0).astype(array.dtype)
        for name, array in seen.layout.sent.items()
    }


def _findings(
    seen: Inspected,
    scores: Vector,
    suspects: BoolVector,
    repairs: list[_Repair],
    report: dict[str, Any],
    trigger: RecoveredTrigger | None,
) -> Findings:
    deltas = seen.updates.deltas
    used = [repair for repair in repairs if repair.arrays is not None]
    shares = int((~suspects).sum()) + sum(repair.clients for repair in used)
    weights = np.where(suspects, 0.0, 1.0 / max(1, shares))
    benign = _mean(deltas, ~suspects)
    mended = [_row(seen, repair.arrays) for repair in used if repair.arrays is not None]
    total = benign * float(weights.sum())
    for repair, row in zip(used, mended, strict=True):
        total = total + row.astype(np.float64) * (repair.clients / shares)
    models: dict[str, Arrays] = {}
    if (~suspects).any():
        models["benign"] = seen.rebuild(benign.astype(np.float32))
    if mended:
        models["repaired"] = seen.rebuild(np.mean(mended, axis=0).astype(np.float32))
    images = {} if trigger is None else {"trigger": picture(trigger)}
    return Findings(Verdict(total.astype(np.float32), weights, scores), report, models, images)


def _mean(deltas: NDArray[np.float32], chosen: BoolVector) -> Vector:
    if not chosen.any():
        return np.zeros(deltas.shape[1])
    return np.asarray(np.einsum("n,nd->d", chosen / chosen.sum(), deltas, dtype=np.float64))


def _by_client(seen: Inspected, values: Vector) -> dict[str, float]:
    return {str(int(node)): round(float(value), 3) for node, value in zip(seen.updates.node_ids, values, strict=False)}


def _row(seen: Inspected, arrays: Arrays) -> NDArray[np.float32]:
    row, side = np.empty(seen.layout.width, np.float32), np.empty(seen.layout.side_width)
    seen.layout.write(arrays, row, side)
    return row


def picture(trigger: RecoveredTrigger) -> NDArray[np.uint8]:
    """Return a trigger as a picture (H, 2 W, 3): its mask, and what it shows where the mask is."""
    mask = np.repeat(trigger.mask[None], 3, axis=0)
    pattern = np.broadcast_to(trigger.pattern, mask.shape)
    both = np.concatenate([mask, mask * pattern], axis=2)
    return np.asarray(np.rint(255.0 * both.transpose(1, 2, 0)), np.uint8)
