"""What does not go together in an attack is one line with the key, what was found, what would do."""

from typing import Any

import pytest

from fedsec.runs.checks import check, check_with_data
from fedsec.runs.config import RunConfig, flatten
from fedsec.runs.identity import identity
from fedsec.runs.loading import ConfigError, parse, parse_flat


def attacked(**options: Any) -> RunConfig:
    rate = {"federation": {"learning-rate": options.pop("rate")}} if "rate" in options else {}
    optimiser = {"federation": {"optimiser": options.pop("optimiser")}} if "optimiser" in options else rate
    return parse({**optimiser, "attack": {key.replace("_", "-"): value for key, value in options.items()}})


@pytest.mark.parametrize(
    "options",
    [
        {"sources": "all", "target": 0},
        {"sources": "all", "kind": "none"},
        {"sources": "all", "label_share": 0.2, "trigger": "blend", "trigger_opacity": 0.5},
        {"trigger": "blend"},
        {"trigger": "distributed", "trigger_size": 2, "share": 0.1},
        {"trigger": "patch", "trigger_opacity": 1.0, "trigger_corner": "centre"},
        {"evasion": "penalty"},
        {"evasion": "penalty", "kind": "untargeted-backdoor", "evasion_weight": 5.0},
        {"evasion": "penalty", "evasion_weight": 500.0, "optimiser": "adam"},
        {"kind": "untargeted", "evasion_weight": 7.0},
    ],
)
def test_what_goes_together_is_taken(options: dict[str, Any]) -> None:
    config = attacked(**options)
    check(config)
    check_with_data(config, (1, 28, 28), 10, 1000)
    assert parse_flat(flatten(config)) == config


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"sources": "all", "kind": "untargeted-backdoor"},
            'attack.sources: found "all" with attack.kind = "untargeted-backdoor"; expected "one", or "backdoor"',
        ),
        ({"sources": "one", "target": 0}, "attack.target: found 0, which is the source; expected another class"),
        (
            {"trigger": "blend", "trigger_opacity": 1.0},
            'attack.trigger-opacity: found 1.0 with attack.trigger = "blend"; expected less',
        ),
        (
            {"trigger": "distributed", "trigger_size": 1},
            'attack.trigger-size: found 1 with attack.trigger = "distributed"; expected 2 or more',
        ),
        (
            {"evasion": "penalty", "kind": "untargeted"},
            'attack.evasion: found "penalty" with attack.kind = "untargeted"; expected "none", or a backdoor',
        ),
        (
            {"evasion": "penalty", "evasion_weight": 5.1},
            "attack.evasion-weight: found 5.1 with federation.learning-rate = 0.1; expected at most 5, or a step",
        ),
    ],
)
def test_what_contradicts_itself_is_named(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(attacked(**options))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("trigger-opacity", 0.0, "attack.trigger-opacity: found 0.0; expected greater than 0"),
        ("trigger-opacity", 1.5, "attack.trigger-opacity: found 1.5; expected less than or equal to 1"),
        ("trigger-opacity", "much", "attack.trigger-opacity: found 'much'; expected a number"),
        ("trigger", "blended", "attack.trigger: found 'blended'; expected"),
        ("trigger-corner", "center", "attack.trigger-corner: found 'center'; expected"),
        ("sources", "every", "attack.sources: found 'every'; expected"),
        ("evasion", "clip", "attack.evasion: found 'clip'; expected"),
        ("evasion-weight", 0.0, "attack.evasion-weight: found 0.0; expected greater than 0"),
    ],
)
def test_values_that_are_none_are_named(key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse({"attack": {key: value}})
    assert expected in str(error.value)


def test_options_count_where_they_decide_something() -> None:
    plain = identity(parse({}))
    assert not {"attack.sources", "attack.trigger-opacity", "attack.evasion", "attack.evasion-weight"} & plain.keys()
    assert identity(attacked(evasion_weight=0.3)) == plain
    assert identity(attacked(evasion="penalty", evasion_weight=0.3))["attack.evasion-weight"] == 0.3
    assert identity(attacked(trigger_opacity=0.5))["attack.trigger-opacity"] == 0.5
    everything = attacked(sources="all")
    assert identity(everything) == identity(attacked(sources="all", source=3))
    assert identity(everything)["attack.sources"] == "all"
