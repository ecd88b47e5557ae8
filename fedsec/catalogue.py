"""Everything that a configuration can name or set: data sets, partitions, models, attacks, strategies, every key."""

import inspect
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from pydantic import TypeAdapter

from fedsec.data.sources import KNOWN_DATASETS
from fedsec.runs.attack_section import AttackSection
from fedsec.runs.config import RunConfig, described
from fedsec.runs.sections import DataSection, DefenseSection
from fedsec.strategies import STRATEGIES
from fedsec.strategies.build import options_of


@dataclass(frozen=True, slots=True)
class Option:
    """One key of the configuration.

    Attributes:
        key: as a file spells it, with its table: ``data.q``.
        default: what it is when it is not given, as a file spells it; ``not set`` leaves it to the strategy.
        type: ``number``, ``whole number``, ``text``, ``true or false`` or ``choice``.
        bounds: the values that it may have; "" for any of its type.
        about: what it means, with its unit.
    """

    key: str
    default: str
    type: str
    bounds: str
    about: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a configuration can name, or one table of its settings."""

    kind: str
    name: str
    about: str
    source: str
    options: tuple[Option, ...]


HEADINGS = {
    "data set": "Data sets (data.dataset)",
    "partition": "Partitions (data.partition)",
    "model": "Models (model.name)",
    "attack": "Attacks (attack.kind)",
    "strategy": "Strategies (defense.strategy)",
    "setting": "Settings: every key of a run file, by its table",
}

SOURCES = {"digits": "scikit-learn"}

PARTITIONS = {
    "iid": ("evenly mixed", "McMahan et al., AISTATS 2017, 3", ()),
    "label-skew": ("label skew of degree q", "Fang et al., USENIX Security 2020, 6.1.2", ("q",)),
    "dirichlet": ("class shares drawn from a Dirichlet distribution", "Hsu et al., 2019, arXiv:1909.06335", ("alpha",)),
    "one-class": ("one class per client", "Hitaj et al., CCS 2017", ("held",)),
    "own": ("nothing is dealt out: each client has a data set of its own", "", ("folders", "classes")),
}

MODELS = {
    "lenet5": ("LeNet-5, 61,706 parameters for 1 x 28 x 28", "LeCun et al., Proceedings of the IEEE 1998"),
    "resnet18": ("ResNet-18 for 32 x 32, 11,173,962 parameters", "He et al., CVPR 2016"),
    "reconstruction": ("the reconstruction attack's classifier, 482,027 for 1 x 28 x 28", "Hitaj et al., CCS 2017"),
    "dcgan": ("DCGAN's generator; the federation trains a GAN, see [fedgan]", "Radford et al., ICLR 2016"),
    "stylegan2": ("StyleGAN2's generator; the federation trains a GAN, see [fedgan]", "Karras et al., CVPR 2020"),
}

EVERY_ATTACK = ("share", "clients", "start_round", "end_round")
TRIGGER = ("trigger", "trigger_size", "trigger_corner", "trigger_opacity")
EVASION = ("evasion", "evasion_weight")
ATTACKS = {
    "none": ("nobody attacks; source, target and trigger still say what BA measures", "", ()),
    "backdoor": (
        "triggered copies of the source class, or of every class, labelled as the target",
        "thesis on GAN balancing, 5.1.3",
        (*EVERY_ATTACK, "source", "sources", "target", "label_share", *TRIGGER, *EVASION),
    ),
    "untargeted": (
        "random labels changed to other random labels",
        "thesis on GAN balancing, 5.1.3",
        (*EVERY_ATTACK, "label_share"),
    ),
    "reconstruction": (
        "a client's private class, rebuilt by a generator that has the global model for its discriminator",
        "Hitaj et al., CCS 2017",
        (
            *("clients", "start_round", "end_round", "victim", "start_accuracy", "updates", "generator_rate", "fakes"),
            *("total_variation", "jitter"),
        ),
    ),
    "stamp": (
        "the trigger on every image of a malicious client of a federated GAN",
        "Jin and Li, SASHIMI 2022",
        (*EVERY_ATTACK, *TRIGGER, "claim"),
    ),
    "untargeted-backdoor": (
        "triggered copies with random labels, of one random class as another or of all classes",
        "thesis on GAN balancing, 5.1.3 and 5.2.3",
        (*EVERY_ATTACK, "labels", "label_share", *TRIGGER, *EVASION),
    ),
}


def catalogue() -> Iterator[Entry]:
    """Yield every entry, kind by kind."""
    for name, known in KNOWN_DATASETS.items():
        source = SOURCES.get(name) or known.hub or "a folder, see FEDSEC_DATA"
        yield Entry("data set", name, known.about, source, ())
    for name, (about, source, keys) in PARTITIONS.items():
        yield Entry("partition", name, about, source, tuple(_options(DataSection, "data", keys)))
    for name, (about, source) in MODELS.items():
        yield Entry("model", name, about, source, ())
    for name, (about, source, keys) in ATTACKS.items():
        yield Entry("attack", name, about, source, tuple(_options(AttackSection, "attack", keys)))
    for name, strategy in STRATEGIES.items():
        yield Entry("strategy", name, *_cited(strategy), tuple(_strategy_options(name)))
    for field in fields(RunConfig):
        section: Any = field.type
        about = (inspect.getdoc(section) or "").replace("``", "")
        yield Entry("setting", field.name, about, "", tuple(_options(section, field.name, described(section))))


def as_text(entries: Iterable[Entry], width: int) -> str:
    """Return the entries as indented paragraphs of ``width`` characters; no key and no name is ever broken."""
    lines: list[str] = []
    kind = ""
    for entry in entries:
        if entry.kind != kind:
            kind = entry.kind
            lines += ["", HEADINGS[kind]] if lines else [HEADINGS[kind]]
        source = f" [{entry.source}]" if entry.source else ""
        lines += ["", f"  {entry.name}", *_wrapped(f"{entry.about}{source}", 4, width)]
        for option in entry.options:
            lines += [f"      {option.key} = {option.default}", *_wrapped(option.about, 10, width)]
            lines += _wrapped(": ".join(filter(None, (option.type, option.bounds))), 10, width)
    return "\n".join(lines)


def _wrapped(text: str, indent: int, width: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(
        text,
        max(width, indent + 20),
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _options(section: Any, table: str, keys: Iterable[str]) -> Iterator[Option]:
    properties = TypeAdapter(section).json_schema()["properties"]
    wanted = set(keys)
    for name, (default, about) in described(section).items():
        if name in wanted:
            dashed = name.replace("_", "-")
            yield Option(f"{table}.{dashed}", _spelt(default), *_type_and_bounds(properties[dashed]), about)


def _strategy_options(name: str) -> Iterator[Option]:
    settings = {option.key: option for option in _options(DefenseSection, "defense", options_of(name))}
    for keyword, parameter in options_of(name).items():
        option = settings[f"defense.{keyword.replace('_', '-')}"]
        required = parameter.default is inspect.Parameter.empty
        default = "required" if required else _spelt(parameter.default)
        yield Option(option.key, default, option.type, option.bounds, option.about.partition(": ")[2])


def _spelt(value: object) -> str:
    """Return a default as a file spells it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'


def _type_and_bounds(schema: dict[str, Any]) -> tuple[str, str]:
    """Return type and bounds from a key's JSON schema, ``("number", "above 0, at most 1")``."""
    if "anyOf" in schema:
        pairs = [_type_and_bounds(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(kind for kind, _ in pairs), " or ".join(bounds for _, bounds in pairs if bounds)
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices:
        return "choice", ", ".join(choices)
    words = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    bounds = [f"{word} {schema[limit]:.12g}" for limit, word in words.items() if limit in schema]
    if "pattern" in schema:
        bounds.append(f"matches {schema['pattern']}")
    kinds = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
    return kinds[schema["type"]], ", ".join(bounds)


def _cited(strategy: type) -> tuple[str, str]:
    """Return name and source from the first line of a strategy's docstring, ``Name (source) as a Flower strategy.``."""
    line = (inspect.getdoc(strategy) or "").splitlines()[0]
    about, _, rest = line.partition(" (")
    return about, rest.partition(") as a Flower strategy")[0]
