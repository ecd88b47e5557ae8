"""Damage to something that was whole: what a generator that starts from nothing rarely comes near."""

import random

INTERESTING = [
    b"",
    b"\0",
    b"\xff" * 4,
    b"\x93NUMPY",
    b"'",
    b"(",
    b"-1",
    b"1e999",
    b"nan",
    b"\n",
    b"[",
    b'"""',
    b"9" * 40,
]


def mutated(data: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Return ``data`` with one to six changes: bits, pieces cut out, doubled, swapped, or taken from ``other``."""
    body = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        start = rng.randrange(len(body) + 1)
        end = min(len(body), start + rng.choice([1, 1, 2, 8, 64]))
        kind = rng.randrange(7)
        if kind == 0 and start < len(body):
            body[start] ^= 1 << rng.randrange(8)
        elif kind == 1 and start < len(body):
            body[start] = rng.randrange(256)
        elif kind == 2:
            del body[start:end]
        elif kind == 3:
            body[start:start] = body[start:end]
        elif kind == 4:
            body[start:end] = rng.choice(INTERESTING)
        elif kind == 5 and other:
            cut = rng.randrange(len(other))
            body[start:end] = other[cut : cut + rng.choice([1, 4, 16, 64])]
        else:
            body[start:] = body[start:][: rng.choice([0, 1, 50])]
    return bytes(body)
