"""Loss forest.  Jin and Li, *Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis*, SASHIMI 2022,
algorithm 1.  arXiv:2207.00762
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from fedsec.defenses.isolation_forest import isolation_scores
from fedsec.defenses.loss_memory import LossMemory
from fedsec.defenses.mean import weighted_sum
from fedsec.defenses.updates import (
    BoolVector,
    OptionError,
    RoundUpdates,
    TooFewClientsError,
    Vector,
    Verdict,
    check_choice,
    check_whole,
)

Gate = Literal["half", "whole-half"]
Sides = Literal["both", "high"]

CONSISTENT = 1.4826
"""A median absolute deviation times this is the standard deviation of normal values."""


@dataclass(frozen=True, slots=True)
class ForestOptions:
    """The options of :func:`loss_forest`; those of the paper are the defaults.

    Attributes:
        warmup_rounds: m; the forest is asked where t > m, and t counts from 0: the first m + 1 rounds go without.
        decay: d, by which a flagged client's weight is multiplied c times when it is flagged for the c-th time.
        gate: how many of n clients may be flagged at once for the answer to count: ``"half"``, fewer than n/2 (the
            paper), or ``"whole-half"``, fewer than n // 2 (the authors' code: of five clients one instead of two).
        absolute: judge |loss| (the authors' code) instead of the loss (the paper). The two are the same for the
            vanilla GAN, whose losses are positive; a Wasserstein loss has a sign, and 5 is far away from -5.
        sides: ``"both"`` ends of the losses are flagged (the paper), or only the ``"high"`` one, above the median.
        recovery: share r of the way back to 1/N that the weight of a client goes in a round that does not flag it.
        floor: a client counts as flagged only where |l - median| >= floor * 1.4826 * median |l_j - median|: the
            forest ranks losses, and always finds somebody at the end of a few that are all alike. 0 is off.
        smoothing: share of a client's earlier losses in the one that is judged, s_t = b s_{t-1} + (1 - b) l_t.
    """

    warmup_rounds: int = 10
    decay: float = 0.9
    gate: Gate = "half"
    absolute: bool = False
    sides: Sides = "both"
    recovery: float = 0.0
    floor: float = 0.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Raise :class:`OptionError` for an option that makes no sense."""
        check_whole("warmup_rounds", self.warmup_rounds, at_least=0)
        check_choice("gate", self.gate, get_args(Gate))
        check_choice("sides", self.sides, get_args(Sides))
        for option, fits, rule in (
            ("decay", 0.0 < self.decay <= 1.0, "above 0 and at most 1"),
            ("recovery", 0.0 <= self.recovery <= 1.0, "from 0 to 1"),
            ("floor", 0.0 <= self.floor < math.inf, "a finite number from 0"),
            ("smoothing", 0.0 <= self.smoothing < 1.0, "from 0 and below 1"),
        ):
            if not fits:
                raise OptionError(option, f"{option} must be {rule}; got {getattr(self, option)!r}.")


def loss_forest(
    updates: RoundUpdates,
    rng: np.random.Generator,
    memory: LossMemory,
    options: ForestOptions | None = None,
    *,
    measured: Vector | None = None,
) -> tuple[Verdict, LossMemory]:
    """Weigh each client down, for good, each time that its loss lies apart from those of the others.

    Args:
        updates: the round's updates with the losses that the clients report, n >= 1.
        rng: source of the forest. Deviation: the authors' code seeds every round's alike, with 999. Who lies next
            to the border would then be flagged by the same luck every time: of two attackers among four, scikit-learn's
            forest flags 10.9 % with 999 and 5.0 % with a seed for each of 400 rounds; this one 5.3 %.
        memory: what the round before returned.
        options: see :class:`ForestOptions`.
        measured: (n,) losses that the server measured itself, in place of the reported ones. NaN or infinity means
            that it could not: the client counts as flagged, and has weight 0 in this round, in warm-up too.

    Returns:
        the verdict, with the forest's anomaly scores (0 in warm-up, 1 for whom no loss could be measured), and the
        memory for the next round.

    Raises:
        ValueError: there are no losses, or the reported ones are not all finite.
        TooFewClientsError: no loss could be measured.
    """
    options = options or ForestOptions()
    reported = _losses(updates, measured)
    usable = np.isfinite(reported)
    known = memory.of(updates.node_ids)
    losses = np.where(usable, _smoothed(np.abs(reported) if options.absolute else reported, known, options), np.inf)
    known = replace(known, losses=np.where(usable, losses, known.losses), rounds=memory.rounds + 1)
    scores = np.zeros(len(updates))
    if memory.rounds > options.warmup_rounds:  # t > m
        scores = np.ones(len(updates))
        scores[usable] = isolation_scores(losses[usable], rng)
        known = _decayed(known, outliers(losses, scores, options), options)
    weights = np.where(usable, np.exp(known.log_weights - known.log_weights[usable].max()), 0.0)
    weights /= weights.sum()
    return Verdict(weighted_sum(updates.deltas, weights), weights, scores), memory.updated(known)


def _losses(updates: RoundUpdates, measured: Vector | None) -> Vector:
    """Return the losses (n,) to judge by."""
    if measured is not None:
        if not np.isfinite(measured).any():
            raise TooFewClientsError("strategy", "The loss forest could not measure the loss of a single client.")
        return np.asarray(measured, np.float64)
    if updates.losses is None or not np.isfinite(updates.losses).all():
        raise ValueError("the loss forest needs a finite loss of every client; some have none.")
    return updates.losses


def _smoothed(losses: Vector, known: LossMemory, options: ForestOptions) -> Vector:
    """Return b s + (1 - b) l, (n,); the loss itself in a client's first round."""
    share = options.smoothing
    return np.where(np.isnan(known.losses), losses, share * known.losses + (1.0 - share) * losses)


def outliers(losses: Vector, scores: Vector, options: ForestOptions) -> BoolVector:
    """Return O (n,): whom the forest flags and the options do not spare."""
    flagged = scores > 0.5
    usable = losses[np.isfinite(losses)]
    with np.errstate(all="ignore"):  # reported losses may be as large as floats get
        middle = np.median(usable)
        if options.sides == "high":
            flagged &= losses > middle
        if options.floor > 0.0:
            flagged &= np.abs(losses - middle) >= options.floor * CONSISTENT * np.median(np.abs(usable - middle))
    return flagged


def is_valid(flagged: BoolVector, options: ForestOptions) -> bool:
    """Tell whether so many of the clients (n,) are flagged that the answer counts; nobody is always a valid answer."""
    n, found = len(flagged), int(flagged.sum())
    return found == 0 or found < (n / 2 if options.gate == "half" else n // 2)


def _decayed(known: LossMemory, flagged: BoolVector, options: ForestOptions) -> LossMemory:
    """Return the round's clients after lines 13 to 16 of algorithm 1, and those not flagged recovered."""
    if not is_valid(flagged, options):
        return known  # nobody is flagged, and nobody is cleared either: or else attackers who void rounds recover
    counts = known.counts + flagged
    log_weights = known.log_weights + np.where(flagged, counts * math.log(options.decay), 0.0)
    if options.recovery > 0.0:  # w + r (1 - w), for N w
        with np.errstate(divide="ignore"):
            back = np.logaddexp(log_weights + np.log(1.0 - options.recovery), math.log(options.recovery))
        log_weights = np.where(flagged, log_weights, back)
    return replace(known, counts=counts, log_weights=log_weights)
