"""GANcrop, joined: detect, recover, unlearn, aggregate.  Paper on GANcrop, section 3 and algorithm 1."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.recovery import RecoveryOptions
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.defenses.updates import BoolVector, Vector
from fedsec.inspectors.aggregate import GroupRepair, aggregate
from fedsec.inspectors.averages import ALIKE, Averages
from fedsec.inspectors.carriers import Carriers, bound, carry, has_support, support
from fedsec.inspectors.public import PublicData
from fedsec.inspectors.repair import Repairer
from fedsec.inspectors.search import Found, TriggerSearch
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.inspectors.watch import Watch, WatchOptions
from fedsec.strategies.gancrop import Repair
from fedsec.strategies.inspecting import Arrays, Findings, Inspected
from fedsec.training.classifier import TrainingSettings
from fedsec.training.threads import one_thread

log = logging.getLogger(__name__)

CANDIDATES = 0.25
"""Share of a round's models, the most suspicious, from whose average a trigger is recovered at least."""

SEVERAL, TENTH = 3, 0.1
"""Suspects who do not carry the trigger that stands out, and the share of the models that they must be, to be searched
for one of their own: a few clean ones pass the threshold of the detector, and the search takes seconds. Where it calls
less than that share of the models, nobody's trigger could have its support, and searches that find nothing rest."""

MANY = 0.2
"""Share of the models that the detector must call for a search that finds nothing to go on for as many steps again: so
many it seldom calls for nothing, and a faint pattern over the whole image needs them."""


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


@dataclass(frozen=True, slots=True)
class _Group:
    """Suspects (n,) that are repaired together, and what was recovered from them, if it was already."""

    chosen: BoolVector
    found: Found | None


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
        self.search = TriggerSearch(public, self.options.recovery)
        self.repairer = Repairer(public, self.options.unlearning)

    def inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        """Return the average of the models judged clean and of the repaired ones."""
        with one_thread():
            return self._inspect(seen, rng)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the detector, what it learned from, and the generator of triggers."""
        return self.watch.state() | self.search.state()

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take back what :meth:`state` returned."""
        self.watch.load_state(state)
        self.search.load_state(state)

    def _inspect(self, seen: Inspected, rng: np.random.Generator) -> Findings:
        clock = [time.perf_counter()]
        about = self.watch.learn(seen, rng)
        clock.append(time.perf_counter())
        told = self.watch.scores(seen)
        clock.append(time.perf_counter())
        averages, carriers = Averages.of(seen), Carriers(self.public, seen)
        ranking, _ = self._with_carriers(carriers, told)
        trusted = averages.model(least_suspicious(ranking))
        found = self._found(averages, ranking, trusted, carriers, told, rng)
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
        used = [repair.chosen for repair in repairs if repair.arrays is not None]
        left = suspects & ~np.any([np.zeros_like(suspects), *used], axis=0)
        report["left_out"] = [int(node) for node in seen.updates.node_ids[left]]
        if about.get("trained") is False:
            log.warning("GANcrop suspects nobody: too few backdoors take on this model to train its detector from.")
        return aggregate(averages, scores, suspects, repairs, report)

    def _found(
        self,
        averages: Averages,
        ranking: Vector,
        trusted: Arrays,
        carriers: Carriers,
        told: Vector,
        rng: np.random.Generator,
    ) -> Found | None:
        """Return what is recovered from the average of the most suspicious, ``None`` where nothing is searched.

        A trigger of whose carriers the detector calls less than a quarter is taken for a natural one. Once it has
        called so many, that is remembered: later they may learn to hide from it, but not from their trigger. One that
        nobody carries does not take the place of one that is remembered so.
        """
        chosen, called = candidates(ranking), float((told > 0.0).mean())
        if self.options.repair == "none" or not chosen.any():
            return None
        if self.options.repair == "average" and called < TENTH and self.search.rests():
            return None
        earlier = self.search.known if self.search.supported else None
        suspect = averages.model(averages.quiet(chosen), ALIKE)
        found = self.search.find(suspect, trusted, _generator(rng), thorough=called >= MANY)
        if found.outstanding is None:
            return found
        lifts = carriers.lifts(found.outstanding)
        speaks = support(lifts, told)
        self.search.supported |= has_support(lifts, told)
        if not self.search.supported and (speaks is not None or earlier is not None):
            self.search.dismiss(earlier)
            found = found.without_target()
        return replace(found, support=speaks)

    def _with_carriers(self, carriers: Carriers, scores: Vector) -> tuple[Vector, Vector]:
        """Return the scores, above 0 for those too whose models the last trigger that stood out works on, if it had the
        detector's support; and by how many points it does, empty without one.
        """
        if self.search.known is None:
            return scores, np.empty(0)
        found = carriers.lifts(self.search.known)
        return np.maximum(scores, (found - bound(found)) / 100.0) if self.search.supported else scores, found

    def _groups(
        self,
        averages: Averages,
        suspects: BoolVector,
        carried: Vector,
        found: Found | None,
        trusted: Arrays,
        rng: np.random.Generator,
    ) -> tuple[list[_Group], list[Found]]:
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
        elif self.options.repair == "average" and found.outstanding is not None:
            explained = suspects & carry(carried)
        others = suspects & ~explained
        groups, idle = ([_Group(averages.quiet(explained), found)], []) if explained.any() else ([], [found])
        if others.sum() >= max(SEVERAL, TENTH * len(others)):
            fresh = TriggerSearch(self.public, self.options.recovery)
            others = averages.quiet(others)
            other = fresh.find(averages.model(others, ALIKE), trusted, _generator(rng))
            if other.outstanding is not None:
                groups.append(_Group(others, other))
            else:
                idle.append(other)
        return groups, idle

    def _repairs(
        self, averages: Averages, groups: list[_Group], trusted: Arrays, rng: np.random.Generator
    ) -> list[GroupRepair]:
        if self.options.repair == "each":
            rows = [row for group in groups for row in np.flatnonzero(group.chosen)]
            groups = [_Group(np.arange(len(averages.lengths)) == row, None) for row in rows]
        repairs = []
        for group in groups:
            model = averages.model(group.chosen, ALIKE)
            # What one suspect alone is searched for is not what the round is remembered for.
            found = group.found or self.search.apart().find(model, trusted, _generator(rng))
            repaired = self.repairer.repair(model, found, _generator(rng))
            clients = [int(node) for node in averages.seen.updates.node_ids[group.chosen]]
            report = repaired.report | {"clients": clients}
            repairs.append(GroupRepair(group.chosen, repaired.arrays, report, found.outstanding))
        return repairs


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


def _generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))


def _by_client(seen: Inspected, values: Vector) -> dict[str, float]:
    return {str(int(node)): round(float(value), 3) for node, value in zip(seen.updates.node_ids, values, strict=False)}
