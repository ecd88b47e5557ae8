"""GANcrop, joined: detect, recover, unlearn, aggregate.  Paper on GANcrop, section 3 and algorithm 1."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.recovery import RecoveryOptions
from fedsec.defenses.gancrop.trigger import RecoveredTrigger
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.defenses.updates import BoolVector, Vector, Verdict
from fedsec.inspectors.averages import ALIKE, Averages
from fedsec.inspectors.carriers import SUSPECTED, Carriers, bound, carry, support
from fedsec.inspectors.public import PublicData
from fedsec.inspectors.repair import Found, Repairer
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.inspectors.watch import Watch, WatchOptions
from fedsec.strategies.gancrop import Repair
from fedsec.strategies.inspecting import Arrays, Findings, Inspected
from fedsec.training.classifier import TrainingSettings
from fedsec.training.threads import one_thread

CANDIDATES = 0.25
"""Share of a round's models, the most suspicious, from whose average a trigger is recovered at least."""

SEVERAL, TENTH = 3, 0.1
"""Suspects who do not carry the trigger that stands out, and the share of the models that they must be, to be searched
for one of their own: a few clean ones pass the threshold of the detector, and the search takes seconds."""

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
        averages, carriers = Averages.of(seen), Carriers(self.public, seen)
        ranking, _ = self._with_carriers(carriers, told)
        trusted = averages.model(least_suspicious(ranking))
        chosen = candidates(ranking)
        found = None
        if chosen.any() and self.options.repair != "none":
            suspect = averages.model(averages.quiet(chosen), ALIKE)
            found = self._find(suspect, trusted, carriers, told, rng)
        clock.append(time.perf_counter())
        scores, carried = self._with_carriers(carriers, told)
        suspects = scores > 0.0
        groups, searches = self._groups(averages, suspects, carried, found, trusted, rng)
        clock.append(time.perf_counter())
        repairs = self._repairs(averages, groups, trusted, rng)
        clock.append(time.perf_counter())
        stages = dict(zip(("learn", "detect", "recover", "carriers", "repair"), np.diff(clock).tolist(), strict=True))
        report = {**about, "called": int((told > 0.0).sum()), "suspects": int(suspects.sum()), "seconds": stages}
        report |= {"scores": _by_client(seen, told), "carried": _by_client(seen, carried)}
        report["repairs"] = [repair.report for repair in repairs]
        report["searches"] = [search.report for search in searches]
        report["support"] = found.support if found else None
        left = suspects & ~np.any([np.zeros_like(suspects), *(repair.chosen for repair in repairs)], axis=0)
        report["left_out"] = [int(node) for node in seen.updates.node_ids[left]]
        return _findings(averages, scores, suspects, repairs, report)

    def _find(
        self, suspect: Arrays, trusted: Arrays, carriers: Carriers, told: Vector, rng: np.random.Generator
    ) -> Found:
        """Return what is recovered from the average of suspects.

        A trigger of whose carriers the detector calls less than a quarter is taken for a natural one. Once it has
        called so many, that is remembered: later they may learn to hide from it, but not from their trigger.
        """
        earlier = self.repairer.known if self.repairer.supported else None
        found = self.repairer.find(suspect, trusted, _generator(rng))
        trigger = _outstanding(found)
        speaks = None if trigger is None else support(carriers.lifts(trigger), told)
        if speaks is not None and speaks >= SUSPECTED:
            self.repairer.supported = True
        if speaks is not None and not self.repairer.supported:
            self.repairer.dismiss(earlier)
            found = found.without_target()
        return replace(found, support=speaks)

    def _with_carriers(self, carriers: Carriers, scores: Vector) -> tuple[Vector, Vector]:
        """Return the scores, above 0 for those too whose models the last trigger that stood out works on, if it had the
        detector's support; and by how many points it does, empty without one.
        """
        if self.repairer.known is None:
            return scores, np.empty(0)
        found = carriers.lifts(self.repairer.known)
        return np.maximum(scores, (found - bound(found)) / 100.0) if self.repairer.supported else scores, found

    def _groups(
        self,
        averages: Averages,
        suspects: BoolVector,
        carried: Vector,
        found: Found | None,
        trusted: Arrays,
        rng: np.random.Generator,
    ) -> tuple[list["_Group"], list[Found]]:
        """Return who is repaired together, with what was recovered from them, and the searches that repair nobody.

        Where a trigger stands out, natural or not, suspects that do not carry it were called by the detector alone.
        Several of them may share another trigger; then they are repaired from that one. Else they are left out: the
        detector's threshold lets few clean models pass for poisoned, and what they would add is not worth the risk.
        """
        if found is None:
            return [], []
        explained = suspects
        if self.options.repair == "average" and found.natural is not None:
            explained = np.zeros_like(suspects)
        elif self.options.repair == "average" and _outstanding(found) is not None:
            explained = suspects & carry(carried)
        others = suspects & ~explained
        groups, idle = ([_Group(averages.quiet(explained), found)], []) if explained.any() else ([], [found])
        if others.sum() >= max(SEVERAL, TENTH * len(others)):
            fresh = Repairer(self.public, self.options.recovery, self.options.unlearning, self.options.recovery.steps)
            others = averages.quiet(others)
            other = fresh.find(averages.model(others, ALIKE), trusted, _generator(rng))
            if _outstanding(other) is not None:
                groups.append(_Group(others, other))
            else:
                idle.append(other)
        return groups, idle

    def _repairs(
        self, averages: Averages, groups: list["_Group"], trusted: Arrays, rng: np.random.Generator
    ) -> list["_Repair"]:
        if self.options.repair == "each":
            rows = [row for group in groups for row in np.flatnonzero(group.chosen)]
            groups = [_Group(np.arange(len(averages.lengths)) == row, None) for row in rows]
        repairs = []
        for group in groups:
            model = averages.model(group.chosen, ALIKE)
            # What one suspect alone is searched for is not what the round is remembered for.
            found = group.found or self.repairer.apart().find(model, trusted, _generator(rng))
            repaired = self.repairer.repair(model, found, _generator(rng))
            clients = [int(node) for node in averages.seen.updates.node_ids[group.chosen]]
            report = repaired.report | {"clients": clients}
            repairs.append(_Repair(group.chosen, repaired.arrays, report, _outstanding(found)))
        return repairs


@dataclass(frozen=True, slots=True)
class _Group:
    """Suspects (n,) that are repaired together, and what was recovered from them, if it was already."""

    chosen: BoolVector
    found: Found | None


@dataclass(frozen=True, slots=True)
class _Repair:
    """A repaired model, which clients (n,) it stands for, and the trigger that stood out in it, if one did."""

    chosen: BoolVector
    arrays: Arrays | None
    report: dict[str, Any]
    trigger: RecoveredTrigger | None


def candidates(scores: Vector) -> BoolVector:
    """Return from whose average a trigger is recovered, (n,): those called poisoned, and the most suspicious.

    Early in a training, and for stealthy attackers, many poisoned models lie below a threshold that clean ones seldom
    pass, and yet above most clean ones. Their average carries the trigger though some of them be clean. Scores of 0 for
    all, where there is no detector yet, are no suspicion.
    """
    most = max(int((scores > 0.0).sum()), round(CANDIDATES * len(scores))) if scores.any() else 0
    chosen = np.zeros(len(scores), bool)
    chosen[np.argsort(-scores, kind="stable")[:most]] = True
    return chosen


def least_suspicious(scores: Vector) -> BoolVector:
    """Return the half of the models with the lowest scores, (n,): what of a trigger works on their average is natural.
    What a model of the round before would do says less, for in one round the models learn much.
    """
    chosen = np.zeros(len(scores), bool)
    chosen[np.argsort(scores, kind="stable")[: (len(scores) + 1) // 2]] = True
    return chosen


def _outstanding(found: Found) -> RecoveredTrigger | None:
    """Return the trigger that stands out in what was found, if one does."""
    return None if found.recovery is None else found.recovery.outstanding


def _generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))


def _findings(
    averages: Averages,
    scores: Vector,
    suspects: BoolVector,
    repairs: list[_Repair],
    report: dict[str, Any],
) -> Findings:
    """Return the average of the models judged clean and of the repaired ones, each of these for as many clients as it
    stands for.
    """
    seen, clean = averages.seen, ~suspects
    used = [repair for repair in repairs if repair.arrays is not None]
    counts = [int(repair.chosen.sum()) for repair in used]
    total = max(1, int(clean.sum()) + sum(counts))
    benign, weights = averages.change(clean), averages.shares(clean) * (clean.sum() / total)
    mended = [seen.layout.change(repair.arrays) for repair in used if repair.arrays is not None]
    delta = benign * np.float32(clean.sum() / total)
    for change, count in zip(mended, counts, strict=True):
        delta += change * np.float32(count / total)
    models: dict[str, Arrays] = {}
    if clean.any():
        models["benign"] = seen.rebuild(benign, clean)
    behind = clean if clean.any() else np.any([clean, *(repair.chosen for repair in used)], axis=0)
    if mended:
        repaired = np.average(mended, axis=0, weights=counts).astype(np.float32)
        models["repaired"] = seen.rebuild(repaired, np.any([repair.chosen for repair in used], axis=0))
    triggers: dict[int, RecoveredTrigger] = {}
    for repair in repairs:
        if repair.trigger is not None:
            triggers.setdefault(repair.trigger.target, repair.trigger)
    named = {"trigger" if place == 0 else f"trigger-{place + 1}": one for place, one in enumerate(triggers.values())}
    images = {name: picture(trigger) for name, trigger in named.items()}
    masks = {name: trigger.mask for name, trigger in named.items()}
    return Findings(Verdict(delta, weights, scores), report, models, images, masks, behind)


def _by_client(seen: Inspected, values: Vector) -> dict[str, float]:
    return {str(int(node)): round(float(value), 3) for node, value in zip(seen.updates.node_ids, values, strict=False)}


def picture(trigger: RecoveredTrigger) -> NDArray[np.uint8]:
    """Return a trigger as a picture (H, 2 W, 3): its mask, and what it shows where the mask is."""
    mask = np.repeat(trigger.mask[None], 3, axis=0)
    pattern = np.broadcast_to(trigger.pattern, mask.shape)
    both = np.concatenate([mask, mask * pattern], axis=2)
    return np.asarray(np.rint(255.0 * both.transpose(1, 2, 0)), np.uint8)
