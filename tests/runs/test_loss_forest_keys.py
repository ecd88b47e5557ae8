"""The loss forest's keys in a configuration, and what is said of a warm-up as long as the run."""

from typing import Any

import pytest

from fedsec.runs.checks import check, strategy_of
from fedsec.runs.config import flatten
from fedsec.runs.loading import ConfigError, parse, parse_flat
from fedsec.strategies import LossForest
from tests.engine.conftest import config, run

OPTIONS: dict[str, Any] = {
    "warmup-rounds": 3, "decay": 0.5, "gate": "whole-half", "absolute": True, "sides": "high", "recovery": 0.1,
    "floor": 3.0, "smoothing": 0.2,
}  # fmt: skip


def test_every_option_reaches_the_strategy_from_a_file_and_from_flower_s_keys() -> None:
    tables = parse({"defense": {"strategy": "loss-forest", **OPTIONS}})
    for configuration in (tables, parse_flat(flatten(tables))):
        strategy = strategy_of(configuration)
        assert isinstance(strategy, LossForest)
        assert {key: getattr(strategy, key.replace("-", "_")) for key in OPTIONS} == OPTIONS


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("warmup-rounds", -1, "found -1; expected greater than or equal to 0"),
        ("decay", 0.0, "found 0.0; expected greater than 0"),
        ("decay", 1.5, "found 1.5; expected less than or equal to 1"),
        ("gate", "third", "found 'third'; expected 'half' or 'whole-half'"),
        ("absolute", "yes", "found 'yes'; expected"),
        ("sides", "low", "found 'low'; expected 'both' or 'high'"),
        ("recovery", 2.0, "found 2.0; expected less than or equal to 1"),
        ("floor", -1.0, "found -1.0; expected greater than or equal to 0"),
        ("smoothing", 1.0, "found 1.0; expected less than 1"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_line(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(parse({"defense": {"strategy": "loss-forest", key: value}}))
    assert f"defense.{key}: {expected}" in str(error.value)


def test_a_warm_up_as_long_as_the_run_is_said() -> None:
    _, folder, observer = run(config(federation__rounds=1, defense__strategy="loss-forest"), "local")
    expected = "with defense.warmup-rounds = 10 detection begins in round 12, and the run has 1"
    assert expected in folder.environment()["notices"]
    assert expected in observer.notices


def test_a_shorter_one_is_not() -> None:
    given = {"defense__strategy": "loss-forest", "defense__warmup_rounds": 0}
    _, folder, _ = run(config(federation__rounds=2, **given), "local")
    assert not any("detection begins" in notice for notice in folder.environment()["notices"])
    assert [client["score"] > 0.0 for client in folder.rounds()[1]["clients"]] == [False] * 10
    assert all(client["score"] > 0.0 for client in folder.rounds()[2]["clients"])
