"""Networks of comparators that find the values in the middle of n, whatever the values are.

The network is Parberry's, *The Pairwise Sorting Network*, Parallel Processing Letters 2, 1992. Of its comparators
those are left out that cannot change which values end up in the middle; it loses more of them than Batcher's does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

Comparator = tuple[int, int]
"""Two wires: the smaller of their values goes to the first one, the larger to the second."""

PATTERNS: tuple[tuple[Comparator, ...], ...] = (
    ((0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)),
    ((0, 1), (2, 3), (0, 2), (1, 3)),
    ((0, 1), (2, 3), (0, 3)),
    ((0, 1), (0, 2), (0, 3)),
    ((0, 1), (0, 2), (3, 1)),
    ((0, 1), (0, 2), (3, 2)),
    ((0, 1), (2, 1), (2, 3)),
    ((0, 1), (2, 1), (3, 1)),
    ((0, 1), (2, 1)),
    ((0, 1), (0, 2)),
    ((0, 1),),
)
"""How the comparators of a few wires may follow one another in a :class:`Group`; the largest come first.

The first one is what sorting in pairs begins with, three times over. The others are the most frequent ones on at most
four wires in the networks of 10 to 128; all 42 that occur would save another 4 %.
"""

MOST_WIRES = 8
"""Wires of the widest pattern."""


@dataclass(frozen=True, slots=True)
class Group:
    """Comparators on a few wires that can be done one after the other while their values stay in registers.

    Attributes:
        pattern: which of :data:`PATTERNS`.
        wires: the wires that stand for 0, 1, ... there.
    """

    pattern: int
    wires: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """What brings the values of ranks ``first`` to ``stop`` - 1 of n, in any order, to the wires of those numbers.

    Attributes:
        size: n, the number of wires.
        first: the lowest rank that is wanted, from 0.
        stop: one more than the highest.
        groups: the comparators, in order.
    """

    size: int
    first: int
    stop: int
    groups: tuple[Group, ...]

    def comparators(self) -> Iterator[Comparator]:
        """Yield the comparators one by one, in order."""
        for group in self.groups:
            for low, high in PATTERNS[group.pattern]:
                yield group.wires[low], group.wires[high]


@lru_cache(maxsize=64)
def selection_network(size: int, first: int, stop: int) -> Network:
    """Return the network that finds the values of ranks ``first`` to ``stop`` - 1 among ``size``."""
    padded = 1 << (size - 1).bit_length()
    # The wires beyond the last one would hold infinity, which no comparator moves.
    whole = [pair for pair in _pairwise(range(padded)) if pair[1] < size]
    return Network(size, first, stop, tuple(_grouped(_pruned(whole, size, first, stop), size)))


def _pairwise(wires: Sequence[int]) -> Iterator[Comparator]:
    """Yield the comparators that sort ``wires``, whose number is a power of two."""
    half = len(wires) // 2
    if half == 0:
        return
    smaller, larger = wires[::2], wires[1::2]
    yield from zip(smaller, larger, strict=True)
    yield from _pairwise(smaller)
    yield from _pairwise(larger)
    reach = half // 2
    while reach:
        for i in range(half - reach):
            yield larger[i], smaller[i + reach]
        reach //= 2


def _pruned(comparators: Sequence[Comparator], size: int, first: int, stop: int) -> list[Comparator]:
    """Leave out the comparators whose two values are both wanted in the end, or both not, without another between."""
    settled: list[bool | None] = [first <= wire < stop for wire in range(size)]
    needed = []
    for low, high in reversed(comparators):
        if settled[low] is None or settled[low] != settled[high]:
            needed.append((low, high))
            settled[low] = settled[high] = None
    return needed[::-1]


def _grouped(comparators: Sequence[Comparator], size: int) -> Iterator[Group]:
    """Yield the same comparators as groups: for the first one that is left, the first pattern that fits."""
    ahead: list[list[Comparator]] = [[] for _ in range(size)]  # of each wire what is left, the next one last
    for pair in reversed(comparators):
        for wire in pair:
            ahead[wire].append(pair)
    for pair in comparators:
        # A group may have taken a comparator before its turn. Equal ones can be told apart by nothing and need not be.
        if not (ahead[pair[0]] and ahead[pair[0]][-1] == pair):
            continue
        group = next(group for group in _fits(pair, ahead) if group is not None)
        for low, high in PATTERNS[group.pattern]:
            for wire in (low, high):
                ahead[group.wires[wire]].pop()
        yield group


def _fits(pair: Comparator, ahead: Sequence[Sequence[Comparator]]) -> Iterator[Group | None]:
    """Yield the groups that may begin with ``pair``, ``None`` for each pattern that does not fit."""
    for number, pattern in enumerate(PATTERNS):
        met: set[int] = set()
        for low, high in pattern:
            if low not in met and high not in met:
                wires = _bound(pattern, {low: pair[0], high: pair[1]}, ahead)
                yield None if wires is None else Group(number, wires)
            met |= {low, high}


def _bound(
    pattern: Sequence[Comparator], wires: dict[int, int], ahead: Sequence[Sequence[Comparator]]
) -> tuple[int, ...] | None:
    """Return the wires for 0, 1, ... of the pattern, given two; ``None`` where other comparators come between."""
    unread = list(wires)
    while unread:
        place = unread.pop()
        there = [pair for pair in pattern if place in pair]
        coming = ahead[wires[place]][-1 : -len(there) - 1 : -1]
        if len(coming) < len(there):
            return None
        for wanted, found in zip(there, coming, strict=True):
            for other, wire in zip(wanted, found, strict=True):
                if other not in wires:
                    wires[other] = wire
                    unread.append(other)
                elif wires[other] != wire:
                    return None
    return tuple(wires[place] for place in range(len(wires)))
