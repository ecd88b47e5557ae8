"""Cases for what reads configurations: a configuration or a ConfigError comes of them, and nothing else."""

import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import strategies as st

from fedsec.runs.checks import check
from fedsec.runs.config import RunConfig, flatten, known_keys
from fedsec.runs.loading import ConfigError, load_run_file, parse, parse_assignment, parse_flat
from fedsec.strategies import STRATEGIES
from tests.fuzz.mutation import mutated

PROJECT = Path(__file__).parents[2]

WORDS = [
    *STRATEGIES, "digits", "mnist", "iid", "label-skew", "dirichlet", "one-class", "own", "none", "backdoor",
    "untargeted", "lenet5", "resnet18", "patch", "examples", "equal", "nearest", "all", "median", "clip", "apart",
    "included", "0 1", "",
]  # fmt: skip

NUMBERS = [0.1, 0.2, 0.25, 0.4, 0.5, 1.0]
scalars = st.one_of(
    st.sampled_from(WORDS), st.integers(-3, 12), st.integers(), st.floats(), st.sampled_from(NUMBERS), st.booleans(),
    st.text(max_size=12), st.integers(0, 9).map(lambda digit: 10**4400 + digit),
)  # fmt: skip
values = st.one_of(
    scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=5), scalars, max_size=2), st.none()
)
known = st.sampled_from(known_keys())
sections = known.map(lambda key: key.split(".")[0])
keys = st.one_of(known, known, known, known.map(lambda key: key.replace("-", "_")), sections, st.text(max_size=12))
flats = st.dictionaries(keys, values, max_size=8)
tables = st.dictionaries(
    st.one_of(sections, st.text(max_size=6)),
    st.one_of(st.dictionaries(known.map(lambda key: key.split(".")[1]), values, max_size=6), values),
    max_size=5,
)


@st.composite
def nearly_right(draw: Any) -> dict[str, Any]:
    """Return all keys with their defaults, but for a few that have another value of the same kind."""
    flat = flatten(RunConfig())
    for key in draw(st.lists(known, max_size=6)):
        default = flat[key]
        if isinstance(default, bool):
            flat[key] = draw(st.booleans())
        elif isinstance(default, int):
            flat[key] = draw(st.one_of(st.integers(0, 40), st.integers(0, 2**31)))
        elif isinstance(default, float):
            flat[key] = draw(st.one_of(st.floats(0, 1), st.sampled_from([0.1, 0.2, 0.3, 0.5, 1.0]), st.floats()))
        else:
            flat[key] = draw(st.one_of(st.sampled_from(WORDS), scalars))
    return flat


written = st.one_of(scalars.filter(lambda value: value.__class__ is not int).map(repr), st.text(max_size=20))
assignments = st.one_of(st.text(max_size=40), st.builds(lambda key, value: f"{key}={value}", keys, written))
cases = st.one_of(flats, tables, nearly_right(), assignments)


def judge(case: dict[str, Any] | str) -> bool:
    """Read one configuration or assignment in every way that there is; tell whether it is one to use."""
    if isinstance(case, str):
        outcome = attempt(lambda: parse_assignment(case))
        changed = None if outcome is None else {**flatten(RunConfig()), outcome[0]: outcome[1]}
        return changed is not None and attempt_checked(lambda: parse_flat(changed))
    flat = attempt_checked(lambda: parse_flat(case, source="run config"))
    return attempt_checked(lambda: parse(case, required=["data.dataset"])) or flat


def judge_damaged(rng: random.Random) -> bool:
    """Damage a run file, and load it; tell whether it still can be used."""
    path = folder() / "run.toml"
    files = run_files()
    path.write_bytes(mutated(rng.choice(files), rng, rng.choice(files)))
    return attempt_checked(lambda: load_run_file(path))


def attempt(read: Any) -> Any:
    """Return what ``read`` returns, ``None`` where it refuses with a ConfigError that says something."""
    try:
        return read()
    except ConfigError as error:
        if not error.problems or not all(problem.strip() for problem in error.problems):
            raise AssertionError("an error that says nothing") from error
        return None


def attempt_checked(read: Any) -> bool:
    """Read a configuration, and check what was read; tell whether both went through."""
    config = attempt(read)
    return config is not None and attempt(lambda: check(config) or True) is not None


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fedsec-fuzz-"))


@cache
def run_files() -> list[bytes]:
    """Return the project's own files that are neither tables nor figures, a table, and one with every key."""
    every = [path.read_bytes() for path in sorted((PROJECT / "experiments").rglob("*.toml"))]
    written = [file for file in every if b"\ntitle" not in file]
    written += [file for file in every if b"[axes]" in file][:1]
    nested: dict[str, dict[str, Any]] = {}
    for key, value in flatten(RunConfig()).items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return [*written, tomli_w.dumps(nested).encode()]
