"""Any mistakes in a run file end the command before anything starts: exit code 2, one line each, no trace.

Mistakes of four kinds, as many at once as may be: keys that are unknown, missing or mistyped, and senseless values.
Values that contradict each other or do not fit the data are looked for when all keys are right, one at a time.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedsec.runs.config import RunConfig, flatten
from fedsec.runs.loading import REQUIRED
from tests.command_line import fedsec

VALID = {key: value for key, value in flatten(RunConfig()).items() if value != ""}
NUMBERS = sorted(key for key, value in VALID.items() if isinstance(value, int | float) and not isinstance(value, bool))
FLAGS = sorted(key for key, value in VALID.items() if isinstance(value, bool))
ANYTHING_ELSE = ("data.dataset", "data.fill")
"""A text that is looked up later, and one that may be a number as well."""

TEXTS = sorted(key for key, value in VALID.items() if isinstance(value, str) and key not in ANYTHING_ELSE)
DROPPED = object()

Mistake = tuple[str, Any, str]
"""The key, its value, and a pattern of what is said of it."""

LINE = r"(missing; expected .+|unknown key; .+|found .+; expected .+|found .+; .+ has no such option; it has: .+)"

letters = "abcdefghijklmnopqrstuvwxyz"
words = st.text(letters, min_size=3, max_size=12)
junk = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400).map(lambda text: f"/{text}")
lists = st.lists(st.integers(), max_size=2)
tables = st.dictionaries(words, st.integers(), max_size=2)
huge = st.integers(10**9, 10**30).map(float) | st.just(float("inf")) | st.just(float("-inf"))
negative = st.integers(-(10**12), -1) | st.integers(-(10**400), -(10**300)) | st.floats(-1e9, -1e-6)
bounded = [key for key in NUMBERS if not key.endswith("-timeout")]


def refused(keys: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Mistake]:
    return st.tuples(st.sampled_from(keys), values).map(lambda pair: (*pair, r"found .+; expected .+"))


mistyped = refused(NUMBERS, words | st.booleans() | lists | tables) | refused(FLAGS, words | st.integers() | lists)
mistyped |= refused(TEXTS, st.integers() | st.booleans() | lists | tables)
senseless = refused(NUMBERS, negative) | refused(bounded, huge) | refused(TEXTS, junk)
unknown = st.tuples(
    st.builds(lambda section, name: f"{section}.x{name}", st.sampled_from(["federation", "data", "attack"]), words)
    | st.sampled_from([key.replace("-", "_") for key in VALID if "-" in key]),
    st.integers(),
    st.just(r"unknown key; (did you mean .+\?|\w+ has .+)"),
)
missing = st.tuples(st.sampled_from(REQUIRED), st.just(DROPPED), st.just("missing; expected .+"))
mistakes = st.lists(mistyped | senseless | unknown | missing, min_size=1, max_size=4, unique_by=lambda m: m[0])


def options(strategy: str, **changes: Any) -> dict[str, Any]:
    return {"defense.strategy": strategy} | {f"defense.{key.replace('_', '-')}": v for key, v in changes.items()}


class_label = st.integers(0, 9)
not_whole = st.floats(0.001, 0.5).filter(lambda share: abs(share * 10 - round(share * 10)) > 1e-3)
contradictions: st.SearchStrategy[tuple[dict[str, Any], str]] = st.one_of(
    class_label.map(lambda c: ({"attack.source": c, "attack.target": c}, "attack.target")),
    st.integers(10, 10**6).map(lambda c: ({"attack.source": c}, "attack.source")),
    st.integers(10, 10**6).map(lambda c: ({"attack.target": c}, "attack.target")),
    not_whole.map(lambda share: ({"attack.share": share}, "attack.share")),
    st.floats(1e-300, 1e-8).map(lambda share: ({"attack.share": share}, "attack.share")),
    not_whole.map(lambda share: ({"federation.fraction": share}, "federation.fraction")),
    st.floats(1e-300, 1e-8).map(lambda share: ({"federation.fraction": share}, "federation.fraction")),
    st.integers(1, 10).map(lambda n: ({"federation.rounds": n, "attack.start-round": n + 1}, "attack.start-round")),
    st.integers(2, 9).map(lambda n: ({"attack.start-round": n, "attack.end-round": n - 1}, "attack.end-round")),
    st.integers(17, 10**9).map(lambda n: ({"attack.end-round": n}, "attack.end-round")),
    st.integers(1, 9).map(
        lambda n: ({"federation.fraction": n / 10, "federation.min-replies": n + 1}, "federation.min-replies")
    ),
    st.integers(1438, 10_000).map(lambda n: ({"federation.clients": n, "attack.share": 0.0}, "federation.clients")),
    st.integers(10**5, 10**6).map(
        lambda n: ({"federation.clients": n, "attack.share": 0.0} | options("flame"), "federation.clients")
    ),
    st.floats(1e-6, 0.0999).map(lambda q: ({"data.q": q}, "data.q")),
    st.integers(27, 10**9).map(lambda size: ({"attack.trigger-size": size}, "attack.trigger-size")),
    st.integers(4, 10**6).map(lambda f: (options("krum", num_malicious=f), "defense.num-malicious")),
    st.just((options("krum"), "defense.num-malicious")),
    st.just((options("multi-krum"), "defense.num-malicious")),
    st.integers(11, 10**6).map(
        lambda m: (options("multi-krum", num_malicious=2, num_selected=m), "defense.num-selected")
    ),
    st.floats(0.5, 0.99).map(lambda beta: (options("trimmed-mean", trim_ratio=beta), "defense.trim-ratio")),
    st.floats(1e-6, 0.09).map(lambda beta: (options("trimmed-mean", trim_ratio=beta), "defense.trim-ratio")),
    st.just((options("trimmed-mean"), "defense.trim-ratio")),
    st.just((options("norm-clip-noise", noise=0.1), "defense.clip")),
    st.floats(1e10, 1e308).map(lambda noise: (options("norm-clip-noise", clip=1.0, noise=noise), "defense.noise")),
    st.sampled_from(["clip", "noise", "trim_ratio"]).map(lambda o: (options("fedavg", **{o: 0.3}), f"defense.{o}")),
    st.just((options("krum", num_malicious=1, trim="updates"), "defense.trim")),
    st.just((options("flame", num_selected=3), "defense.num-selected")),
    st.sampled_from(["", " ", "nowhere", "~", ".." * 3000, "a/b/c"]).map(
        lambda d: ({"data.dataset": d}, "data.dataset")
    ),
)


def toml(values: dict[str, Any]) -> str:
    def literal(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {item}" for key, item in value.items()) + "}"
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")

    return "\n".join(f"{key} = {literal(value)}" for key, value in values.items() if value is not DROPPED)


def lines_of(values: dict[str, Any], tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a run file to the command; return what is said after the file's name, once nothing was started."""

    def started(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr("fedsec.engine.run.execute", started)
    file = tmp_path / "run.toml"
    file.write_text(toml(values), encoding="utf-8")
    finished = fedsec("run", file, "--engine", "local")
    assert finished.code == 2, finished.err
    assert finished.out == ""
    assert "Traceback" not in finished.err
    assert not runs.exists()
    lines = finished.err.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    assert all(line.startswith("fedsec: ") for line in lines)
    return [line.removeprefix("fedsec: ").removeprefix(f"{file}: ") for line in lines]


careful = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


@careful
@given(mistakes=mistakes)
def test_every_mistake_is_one_line_with_its_key_what_was_found_and_what_would_do(
    mistakes: list[Mistake], tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = VALID | {key: value for key, value, _ in mistakes}
    lines = lines_of(values, tmp_path, runs, monkeypatch)
    assert len(lines) == len(mistakes)
    for key, value, pattern in mistakes:
        [line] = [line for line in lines if line.startswith(f"{key}: ")]
        said = line.removeprefix(f"{key}: ")
        assert re.fullmatch(pattern, said), said
        assert re.fullmatch(LINE, said)
        if said.startswith("found"):
            assert said.startswith(f"found {value!r}"[:100])


@careful
@given(contradiction=contradictions)
def test_a_contradiction_is_one_line_with_its_key_what_was_found_and_what_would_do(
    contradiction: tuple[dict[str, Any], str], tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, key = contradiction
    [line] = lines_of(VALID | changes, tmp_path, runs, monkeypatch)
    key = key.replace("_", "-")
    assert line.startswith(f"{key}: ")
    said = line.removeprefix(f"{key}: ")
    if key not in changes:
        assert said.startswith("missing; ")
        return
    assert said.startswith(f"found {changes[key]!r}"[:60])
    assert re.search(r"expected|needs|must|has no such option; it has|Give a folder|at least one", said), said
