"""Everything that a configuration can name: data sets, partitions, models, attacks, strategies, with their options."""

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fedsec.data.sources import KNOWN_DATASETS
from fedsec.runs.config import AttackSection, DataSection, DefenseSection, described
from fedsec.strategies import STRATEGIES
from fedsec.strategies.build import options_of


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its key in the configuration, its default, and what it means with its unit."""

    key: str
    default: str
    about: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a configuration can name."""

    kind: str
    name: str
    about: str
    source: str
    options: tuple[Option, ...]


PARTITIONS = {
    "iid": ("evenly mixed", "", ()),
    "label-skew": ("label skew of degree q", "Fang et al., USENIX Security 2020, 6.1.2", ("q",)),
    "dirichlet": ("class shares drawn from a Dirichlet distribution", "Hsu et al., 2019, arXiv:1909.06335", ("alpha",)),
    "one-class": ("one class per client", "Hitaj et al., CCS 2017", ()),
}

MODELS = {
    "lenet5": ("LeNet-5, 61,706 parameters for 1 x 28 x 28", "LeCun et al., Proceedings of the IEEE 1998"),
    "resnet18": ("ResNet-18 for 32 x 32, 11,173,962 parameters", "He et al., CVPR 2016"),
}

EVERY_ATTACK = ("share", "start_round", "end_round")
ATTACKS = {
    "none": ("nobody attacks; source, target and trigger still say what BA measures", "", ()),
    "backdoor": (
        "triggered copies of the source class, labelled as the target",
        "thesis on GAN balancing, 5.1.3",
        (*EVERY_ATTACK, "source", "target", "trigger", "trigger_size", "trigger_corner"),
    ),
    "untargeted": (
        "random labels changed to other random labels",
        "thesis on GAN balancing, 5.1.3",
        (*EVERY_ATTACK, "label_share"),
    ),
}


def catalogue() -> Iterator[Entry]:
    """Yield every entry, kind by kind."""
    for name, known in KNOWN_DATASETS.items():
        yield Entry("data set", name, known.about, known.hub or "a folder, see FEDSEC_DATA", ())
    for name, (about, source, keys) in PARTITIONS.items():
        yield Entry("partition", name, about, source, tuple(_options(DataSection, "data", keys)))
    for name, (about, source) in MODELS.items():
        yield Entry("model", name, about, source, ())
    for name, (about, source, keys) in ATTACKS.items():
        yield Entry("attack", name, about, source, tuple(_options(AttackSection, "attack", keys)))
    for name, strategy in STRATEGIES.items():
        yield Entry("strategy", name, *_cited(strategy), tuple(_strategy_options(name)))


def _options(section: type, table: str, keys: Iterable[str]) -> Iterator[Option]:
    for name, (default, about) in described(section).items():
        if name in keys:
            yield Option(f"{table}.{name.replace('_', '-')}", str(default), about)


def _strategy_options(name: str) -> Iterator[Option]:
    about = {option.key: option.about for option in _options(DefenseSection, "defense", options_of(name))}
    for keyword, parameter in options_of(name).items():
        key = f"defense.{keyword.replace('_', '-')}"
        required = parameter.default is inspect.Parameter.empty
        default = "required" if required else "not set" if parameter.default is None else str(parameter.default)
        yield Option(key, default, about[key].partition(": ")[2])


def _cited(strategy: type) -> tuple[str, str]:
    """Return name and source from the first line of a strategy's docstring, ``Name (source) as a Flower strategy.``."""
    line = (inspect.getdoc(strategy) or "").splitlines()[0]
    about, _, rest = line.partition(" (")
    return about, rest.partition(") as a Flower strategy")[0]
