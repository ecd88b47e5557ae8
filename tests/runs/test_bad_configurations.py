"""Any mistake in a run file ends the command before anything starts: exit code 2, the key named, no trace."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedsec.runs.config import RunConfig, flatten
from tests.command_line import fedsec

VALID = {key: value for key, value in flatten(RunConfig()).items() if value != ""}
NUMBERS = sorted(key for key, value in VALID.items() if isinstance(value, int | float) and not isinstance(value, bool))
TEXTS = sorted(key for key, value in VALID.items() if isinstance(value, str) and key != "data.dataset")
words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=12)

mistyped = st.tuples(st.sampled_from(NUMBERS), st.one_of(words, st.booleans(), st.lists(st.integers(), max_size=2)))
senseless = st.tuples(
    st.sampled_from(NUMBERS), st.one_of(st.integers(-(10**12), -1), st.floats(-1e9, -1e-6), st.just(float("inf")))
)
unknown = st.tuples(words.map(lambda word: f"federation.x{word}"), st.integers())
misspelt = st.tuples(st.sampled_from(TEXTS), words.map(lambda word: f"/{word}"))
mistakes = st.one_of(mistyped, senseless, unknown, misspelt)


def toml(values: dict[str, Any]) -> str:
    def literal(value: Any) -> str:
        return {float("inf"): "inf"}.get(value) or json.dumps(value) if isinstance(value, float) else json.dumps(value)

    return "\n".join(f"{key} = {literal(value)}" for key, value in values.items())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mistake=mistakes)
def test_a_mistake_names_its_key_and_starts_nothing(
    mistake: tuple[str, Any], tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr("fedsec.engine.run.execute", started)
    key, value = mistake
    file = tmp_path / "run.toml"
    file.write_text(toml(VALID | {key: value}))
    finished = fedsec("run", file, "--engine", "local")
    assert finished.code == 2, finished.err
    assert finished.out == ""
    assert key in finished.err
    assert all(line.startswith("fedsec: ") for line in finished.err.splitlines())
    assert "Traceback" not in finished.err
    assert not runs.exists()
