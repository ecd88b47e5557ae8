"""What does not go with a federated GAN is one line with the key, what was found and what would do."""

from typing import Any

import pytest

from fedsec.runs.checks import check, check_with_data
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import ConfigError, parse

GAN: dict[str, Any] = {
    "data": {"partition": "iid"},
    "model": {"name": "dcgan"},
    "federation": {"clients": 4},
    "attack": {"kind": "stamp", "share": 0.25},
    "defense": {"strategy": "loss-forest"},
}


def changed(**changes: Any) -> RunConfig:
    tables = {section: dict(values) for section, values in GAN.items()}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tables.setdefault(section, {})[name.replace("_", "-")] = value
    return parse(tables)


def test_a_federated_gan_and_its_attack_go_together() -> None:
    check(changed())
    check(changed(attack__kind="none", defense__audit="critic"))
    check_with_data(changed(), (3, 32, 32), 1, 100)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model__name": "lenet5"}, "attack.kind: found \"stamp\" with model.name = 'lenet5'; expected another attack"),
        ({"attack__kind": "backdoor"}, "attack.kind: found 'backdoor' with model.name = 'dcgan'; expected \"none\" or"),
        ({"data__balance": "cgan"}, "data.balance: found 'cgan' with model.name = 'dcgan'; expected \"none\""),
        ({"federation__momentum": 0.9}, "federation.momentum: found 0.9 with model.name = 'dcgan'; expected 0.0"),
        ({"fedgan__images": 9}, "fedgan.images: found 9; expected 10 or more"),
        (
            {"fedgan__augment": "ada", "fedgan__loss": "wgan-gp"},
            "fedgan.augment: found 'ada' with fedgan.loss = 'wgan-gp'",
        ),
        (
            {"defense__audit": "critic", "defense__strategy": "fedavg"},
            "defense.audit: found 'critic' with defense.strategy = 'fedavg'",
        ),
        (
            {"defense__audit": "critic", "model__name": "lenet5", "attack__kind": "none"},
            "defense.audit: found 'critic' with model.name = 'lenet5'; expected \"none\", or a generator",
        ),
    ],
)
def test_what_contradicts_it_is_named(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(changed(**changes))
    assert expected in str(error.value)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 64), (3, 512, 512)])
def test_sizes_that_no_generator_makes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"data\.size: dcgan makes square images of 16, 32, 64, 128, 256 pixels"):
        check_with_data(changed(), shape, 10, 100)
