"""What does not go with the attack that rebuilds a class is one line with the key, what was found, what would do."""

from typing import Any

import pytest

from fedsec.runs.checks import check, check_with_data
from fedsec.runs.config import RunConfig
from fedsec.runs.identity import identity
from fedsec.runs.loading import ConfigError, parse
from fedsec.server_app import checked

ATTACK: dict[str, Any] = {
    "data": {"dataset": "digits", "partition": "one-class", "held": "0 1 2 3 4 5 6 7 8 9"},
    "model": {"name": "reconstruction"},
    "federation": {"clients": 11, "optimiser": "adam", "draw": 50},
    "attack": {"kind": "reconstruction", "clients": "10"},
}


def changed(**changes: Any) -> RunConfig:
    tables = {section: dict(values) for section, values in ATTACK.items()}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tables.setdefault(section, {})[name.replace("_", "-")] = value
    return parse(tables)


def test_a_victim_that_others_hold_goes() -> None:
    for victim in (0, 9):
        checked(changed(attack__victim=victim))
    checked(changed(federation__clients=2, data__held="7", attack__clients="1", attack__victim=7))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"model__name": "lenet5"},
            "attack.kind: found \"reconstruction\" with model.name = 'lenet5'; expected",
        ),
        ({"attack__clients": ""}, "attack.clients: found '' with attack.kind = \"reconstruction\"; expected one"),
        (
            {"attack__clients": "9 10"},
            "attack.clients: found '9 10' with attack.kind = \"reconstruction\"; expected",
        ),
        ({"data__partition": "iid"}, "data.held: found '0 1 2 3 4 5 6 7 8 9' with data.partition = 'iid'; expected"),
        ({"federation__clients": 9, "attack__clients": "8"}, "data.held: found 10 classes; expected at most 9"),
        ({"federation__momentum": 0.9}, 'federation.momentum: found 0.9 with federation.optimiser = "adam"'),
        ({"attack__start_accuracy": 1.1}, "attack.start-accuracy: found 1.1; expected less than or equal to 1"),
        ({"attack__total_variation": -1.0}, "attack.total-variation: found -1"),
        ({"federation__fraction": 0.5}, 'federation.fraction: found 0.5 with attack.kind = "reconstruction"; expected'),
        ({"attack__jitter": -1}, "attack.jitter: found -1; expected greater than or equal to 0"),
    ],
)
def test_what_contradicts_it_is_named(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(changed(**changes))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"attack__victim": 10}, "attack.victim: found 10; expected a class of digits, 0 to 9"),
        ({"data__held": "0 12"}, "data.held: found 12; expected classes of digits, 0 to 9"),
        ({"attack__jitter": 28}, "attack.jitter: found 28; expected less than 28, the side of an image"),
        ({"data__size": 30}, "data.size: the attack generates images whose side is a multiple of 4; found 30 x 30"),
    ],
)
def test_what_does_not_fit_the_data_is_named(changes: dict[str, Any], expected: str) -> None:
    config = changed(**changes)
    side = config.data.size or 28
    with pytest.raises(ConfigError) as error:
        check_with_data(config, (1, side, side), 10, 1000)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data__held": "", "attack__victim": 0}, "attack.victim: found 0; class 0 is also held by the adversary"),
        ({"data__held": "0 2", "attack__victim": 1}, "attack.victim: found 1; class 1 is held by no client"),
        ({"data__held": "", "data__partition": "label-skew"}, "class 1 is also held by the adversary, client 10"),
    ],
)
def test_a_victim_that_the_adversary_or_nobody_holds_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        checked(changed(**changes))
    assert expected in str(error.value)


def test_its_options_count_with_it_alone() -> None:
    other = {"attack__kind": "none", "attack__clients": ""}
    assert identity(changed(**other)) == identity(changed(**other, attack__victim=3, attack__updates=1))
    assert identity(changed()) != identity(changed(attack__victim=3))
    assert identity(changed()) == identity(changed(attack__total_variation=0.0, attack__jitter=0))
    assert (
        len({str(identity(changed(**{f"attack__{key}": 1}))) for key in ("total_variation", "jitter", "victim")}) == 3
    )
    plain = parse({})
    assert not {"data.held", "data.grey", "federation.draw", "federation.optimiser"} & identity(plain).keys()
