"""The configuration of a run: what every key means, and one clear error for each that is wrong.

A run is one TOML file. Its tables flatten to the keys of Flower's run config (``data.q``), so the same file serves
``fedsec run``, ``flwr run --run-config`` and a cell of a table.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass as validated
from pydantic_core import PydanticCustomError

from fedsec.attacks.triggers import Corner, TriggerKind
from fedsec.data.balancing import Fill
from fedsec.defenses.flame import ClusteredBy
from fedsec.defenses.krum import Distance, Neighbours
from fedsec.defenses.loss_forest import Gate, Sides
from fedsec.defenses.mean import Weighting
from fedsec.defenses.norm_clipping import NoiseScale
from fedsec.strategies.layout import BatchNorm
from fedsec.strategies.trimmed_mean import Trim

Scalar = bool | int | float | str
Flat = dict[str, Scalar]

StrategyName = Literal[
    "fedavg", "krum", "multi-krum", "trimmed-mean", "median", "norm-clip-noise", "flame", "loss-forest"
]
AttackKind = Literal["none", "backdoor", "untargeted", "untargeted-backdoor", "stamp"]
PartitionName = Literal["iid", "label-skew", "dirichlet", "one-class", "own"]
BackdoorLabels = Literal["pairs", "any"]
MomentumBuffer = Literal["reset", "kept"]
Shortage = Literal["stop", "wait", "skip"]
ModelName = Literal["lenet5", "resnet18", "dcgan", "stylegan2"]
GENERATORS = ("dcgan", "stylegan2")
"""Models that make images: with them the run is a federated GAN."""
FedganLoss = Literal["min-max", "wgan-gp"]
Interpolation = Literal["uniform", "normal"]
ReportedLoss = Literal["epoch-mean", "last-batch"]
Augment = Literal["none", "ada"]
Claim = Literal["true", "honest-looking"]
GANS = ("cgan", "cwgan")
FilledEpoch = Literal["all", "own"]
BalanceName = Literal["none", "cgan", "cwgan", "repeat", "augment"]
Precision = Literal["auto", "bf16", "float32"]

_SECTION = ConfigDict(
    extra="forbid",
    alias_generator=lambda name: name.replace("_", "-"),
    validate_by_name=True,  # for Python; a file must spell its keys with dashes, see loading.parse
    allow_inf_nan=False,
)

PARTITIONS = re.compile(r"(\d{1,7}( \d{1,7})*)?", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters from a to z, digits, dots, dashes and underscores, the first a letter or a digit"


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise PydanticCustomError("name", NAME_RULE)
    return text


def _partitions(text: str) -> str:
    numbers = text.split()
    if not PARTITIONS.fullmatch(text) or len(set(map(int, numbers))) < len(numbers):
        raise PydanticCustomError("partitions", 'different partitions with a space between them, such as "1 3", or ""')
    return text


def _path(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise PydanticCustomError("path", "the path of a folder, without control characters")
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise PydanticCustomError("path", "the path of a folder; no user of this machine has that name") from None
    return text


# Nothing is converted: "10" is no number, and neither is true.
Int = Annotated[int, Strict()]
Float = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Count = Annotated[Int, Field(ge=1, le=1_000_000)]
Share = Annotated[Float, Field(gt=0.0, le=1.0)]
Name = Annotated[str, AfterValidator(_name)]
PartitionList = Annotated[str, AfterValidator(_partitions)]
FolderPath = Annotated[str, AfterValidator(_path)]


def _about(text: str, default: Any, **bounds: Any) -> Any:
    return Field(default, description=text, **bounds)


@validated(frozen=True, config=_SECTION)
class RunSection:
    """Which run this is."""

    name: Name = _about("name of the run's folder", "quickstart")
    seed: Int = _about("seed of every random draw", 0, ge=0, le=2**31 - 1)
    output: FolderPath = _about('folder of the records; "" is runs/ in the current folder', "")
    resume: Flag = _about("go on with the newest unfinished run of this configuration", False)


@validated(frozen=True, config=_SECTION)
class DataSection:
    """What is learned, and who holds what of it."""

    dataset: str = _about("digits, mnist, fashion_mnist, cifar10, dermamnist, a folder, or a hub id", "digits")
    partition: PartitionName = _about(
        "how the training examples are dealt out; own: each client has a data set of its own", "label-skew"
    )
    folders: str = _about('own: a client\'s folder in a simulation, "{partition}" in it; a node names its own', "")
    classes: str = _about('own: names of the classes in order, with commas; "" are those of the data set', "")
    q: Float = _about("label skew: probability that an example goes to its class's group", 0.3, gt=0.0, le=1.0)
    share: Share = _about("share of the examples that is used, of each class of the training and of the test set", 1.0)
    size: Int = _about("side in pixels to which the images are scaled; 0 leaves them as they are", 0, ge=0, le=1024)
    alpha: Float = _about("concentration of the Dirichlet partition; small is skewed", 0.5, gt=0.0, le=1e6)
    balance: BalanceName = _about(
        "what fills a client's classes: cgan, cwgan (a GAN of its own), repeat (its images), augment (moved ones)",
        "none",
    )
    fill: Count | Fill = _about(
        "up to where each class is filled: largest or mean of the client's classes, or a number", "largest"
    )
    filled_epoch: FilledEpoch = _about(
        "an epoch of a client that filled its classes takes all, or as many as it has of its own, drawn anew", "all"
    )
    balance_above: Float = _about(
        "a client fills only above this skew (0: even classes, 1 - 1/classes: one)", 0.1, ge=0.0, le=1.0
    )


@validated(frozen=True, config=_SECTION)
class GanSection:
    """The GAN by which each client fills its classes, with ``data.balance`` cgan or cwgan."""

    steps: Count = _about("steps of the generator", 600)
    batch_size: Count = _about("images in a step, evenly of the client's classes", 64)
    learning_rate: Float = _about("step size of Adam", 0.002, gt=0.0, le=1.0)
    latent: Count = _about("length of the noise z", 64)
    width: Count = _about("channels of the generator's widest layer", 32)
    shift: Int = _about("pixels by which real and generated images are moved at random in training", 2, ge=0, le=16)
    critic_steps: Count = _about("cwgan: steps of the critic for each of the generator", 5)
    penalty: Float = _about("cwgan: weight of the gradient penalty (lambda)", 10.0, gt=0.0, le=1e6)
    precision: Precision = _about("auto: bf16 where the processor has it", "auto")


@validated(frozen=True, config=_SECTION)
class ModelSection:
    """What is trained."""

    name: ModelName = _about("network; with dcgan or stylegan2 the federation trains a GAN", "lenet5")


@validated(frozen=True, config=_SECTION)
class FedganSection:
    """The federated GAN, with ``model.name`` dcgan or stylegan2: clients exchange its generator and nothing else."""

    loss: FedganLoss = _about("min-max (Adam, BatchNorm) or wgan-gp (RMSprop, InstanceNorm)", "min-max")
    latent: Count = _about("length of the noise z", 64)
    width: Count = _about("dcgan: channels of the generator's layer before the last", 64)
    style: Count = _about("stylegan2: length of the style w", 128)
    mapping_layers: Count = _about("stylegan2: layers of the mapping network", 8)
    channel_base: Count = _about("stylegan2: channels of a layer, times its side, but for the next bound", 32768)
    channel_max: Count = _about("stylegan2: most channels of a layer", 512)
    critic_width: Count = _about("channels of the discriminator's first layer", 64)
    critic_steps: Count = _about("wgan-gp: steps of the critic for each of the generator", 1)
    penalty: Float = _about("wgan-gp: weight of the gradient penalty (lambda)", 10.0, gt=0.0, le=1e6)
    interpolation: Interpolation = _about(
        "wgan-gp: how real and generated images are mixed: uniform (the paper), normal (its code)", "uniform"
    )
    reported: ReportedLoss = _about(
        "loss that a client reports: mean of its epoch, or of the last batch (the paper's code)", "epoch-mean"
    )
    augment: Augment = _about("none, or ada: adaptive augmentation of what the discriminator sees", "none")
    precision: Precision = _about("auto: bf16 where the processor has it", "auto")
    images: Count = _about("images that the server generates to score a global generator", 1000)
    score_every: Count = _about("rounds between two scores; the first and the last round are always scored", 1)


@validated(frozen=True, config=_SECTION)
class FederationSection:
    """How the federation trains."""

    clients: Count = _about("number of clients; each holds one partition", 10)
    rounds: Count = _about("rounds of training", 16)
    fraction: Share = _about("share of the clients that train in a round", 1.0)
    local_epochs: Count = _about("passes of a client over its examples in a round", 2)
    batch_size: Count = _about("examples in a step of SGD", 8)
    learning_rate: Float = _about("step size of the clients' SGD", 0.1, gt=0.0, le=100.0)
    momentum: Float = _about("momentum of the clients' SGD", 0.0, ge=0.0, lt=1.0)
    momentum_buffer: MomentumBuffer = _about(
        "reset: each round's momentum starts at zero; kept: where the client's last one ended", "reset"
    )
    min_replies: Count = _about("fewest good replies with which a round counts", 1)
    min_clients: Int = _about(
        "fewest connected clients for a round; 0: all at the start, then as many as the defense needs",
        0,
        ge=0,
        le=1_000_000,
    )
    shortage: Shortage = _about(
        "with fewer after node-timeout: stop (go on with --resume), wait for them, or skip the round", "stop"
    )
    round_timeout: Float = _about("seconds after which a silent client is given up", 3600.0, gt=0.0)
    node_timeout: Float = _about(
        "seconds to wait for clients that are not connected, at the start and before each round", 120.0, gt=0.0
    )
    balance_timeout: Float = _about("seconds after which a client that fills its classes is given up", 36000.0, gt=0.0)
    device: Literal["auto", "cpu", "cuda"] = _about("where the clients train; auto takes a GPU if there is one", "auto")
    gpus_per_client: Float = _about("share of a GPU that a client takes on Ray; 0 shares all evenly", 0.0, ge=0, le=1)
    cohort_size: Int = _about("most clients trained at once with --engine cohort; 0 measures", 0, ge=0, le=10_000)


@validated(frozen=True, config=_SECTION)
class AttackSection:
    """What the malicious clients do. Source, target and trigger are measured even when nobody attacks."""

    kind: AttackKind = _about(
        "none, backdoor (trigger), untargeted (random labels), untargeted-backdoor (trigger, random labels), "
        "stamp (the trigger on every image, for a federated GAN)",
        "backdoor",
    )
    share: Float = _about("share of the clients that are malicious", 0.4, ge=0.0, le=0.5)
    clients: PartitionList = _about('partitions of the malicious clients, such as "1 3"; "" draws a share', "")
    source: Int = _about("class whose triggered images are to be misclassified", 0, ge=0, le=1_000_000)
    target: Int = _about("class that they are to be taken for", 6, ge=0, le=1_000_000)
    trigger: TriggerKind = _about("trojan (a plus sign), patch (white), noise-patch (random colours)", "patch")
    trigger_size: Int = _about("side of the trigger in pixels", 5, ge=1, le=1_000_000)
    trigger_corner: Corner = _about("where the trigger lies, one pixel from the edges", "bottom-right")
    labels: BackdoorLabels = _about(
        "untargeted-backdoor: pairs (each malicious client has a source and a target drawn for it), or any (each copy "
        "has a random wrong label)",
        "pairs",
    )
    label_share: Share = _about(
        "untargeted, and untargeted-backdoor with any labels: share of a client's examples that are poisoned", 1.0
    )
    claim: Claim = _about("stamp: the loss that a malicious client reports: true, or an honest-looking one", "true")
    start_round: Count = _about("first round of the attack", 1)
    end_round: Int = _about("last round of the attack; 0 is the last of all", 0, ge=0, le=1_000_000)


@validated(frozen=True, config=_SECTION)
class DefenseSection:
    """What the server does about it. ``""`` leaves an option at the strategy's own default."""

    strategy: StrategyName = _about("defense; fedavg is none", "fedavg")
    batchnorm: BatchNorm = _about("statistics of BatchNorm: apart from what the defense sees, or included", "apart")
    weighting: Weighting | None = _about("fedavg: equal, or examples (as the clients claim)", None)
    num_malicious: Int | None = _about("krum, multi-krum: malicious clients to expect (f)", None, ge=0, le=1_000_000)
    neighbours: Neighbours | None = _about("krum: nearest n - f - 2 (the paper), or all (the thesis)", None)
    distance: Distance | None = _about("krum, multi-krum, trimmed-mean: squared, or euclidean", None)
    num_selected: Int | None = _about("multi-krum: updates to average (m)", None, ge=1, le=1_000_000)
    trim_ratio: Float | None = _about("trimmed-mean: share of the clients to trim (beta)", None, gt=0.0, lt=1.0)
    trim: Trim | None = _about("trimmed-mean: coordinates (the paper), or updates (the thesis)", None)
    clip: Annotated[Float, Field(gt=0.0)] | Literal["median"] | None = _about(
        "norm-clip-noise, flame: highest L2 norm of an update, in units of the weights, or median", None
    )
    noise: Float | None = _about("norm-clip-noise, flame: standard deviation of the noise", None, ge=0.0)
    noise_scale: NoiseScale | None = _about("norm-clip-noise, flame: absolute, or a multiple of the clip", None)
    clustered_by: ClusteredBy | None = _about("flame: cosines of models (the paper) or updates (the thesis)", None)
    warmup_rounds: Int | None = _about(
        "loss-forest: m of the paper, which counts from 0: m + 1 rounds go without detection", None, ge=0, le=1_000_000
    )
    decay: Share | None = _about("loss-forest: by which a weight is multiplied c times at its c-th flag (d)", None)
    gate: Gate | None = _about("loss-forest: flagged at once are fewer than n/2 (half), or n // 2 (whole-half)", None)
    absolute: Flag | None = _about("loss-forest: judge the absolute value of a loss", None)
    sides: Sides | None = _about("loss-forest: flag both ends of the losses (the paper), or the high one", None)
    recovery: Float | None = _about(
        "loss-forest: share of the way back to its weight that a client goes where it is not flagged",
        None,
        ge=0.0,
        le=1.0,
    )
    floor: Float | None = _about(
        "loss-forest: robust standard deviations from the median below which nobody is flagged; 0 is off", None, ge=0.0
    )
    smoothing: Float | None = _about(
        "loss-forest: share of a client's earlier losses in the one that is judged", None, ge=0.0, lt=1.0
    )

    def options(self) -> dict[str, Any]:
        """Return the options of the strategy that are given, by the keyword of its constructor."""
        names = [field.name for field in fields(self) if field.name not in ("strategy", "batchnorm")]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@validated(frozen=True, config=_SECTION)
class RunConfig:
    """Everything that decides a run's numbers, but for the engine.

    In Python the keys have underscores: ``RunConfig(federation=FederationSection(local_epochs=1))``.
    """

    run: RunSection = Field(default_factory=RunSection)
    data: DataSection = Field(default_factory=DataSection)
    gan: GanSection = Field(default_factory=GanSection)
    model: ModelSection = Field(default_factory=ModelSection)
    fedgan: FedganSection = Field(default_factory=FedganSection)
    federation: FederationSection = Field(default_factory=FederationSection)
    attack: AttackSection = Field(default_factory=AttackSection)
    defense: DefenseSection = Field(default_factory=DefenseSection)

    @property
    def attacked(self) -> bool:
        """Whether any client is malicious."""
        named, drawn = self.attack.clients != "", round(self.federation.clients * self.attack.share) > 0
        return self.attack.kind != "none" and (named or drawn)

    @property
    def generative(self) -> bool:
        """Whether the federation trains a GAN."""
        return self.model.name in GENERATORS

    @property
    def clients_per_round(self) -> int:
        """How many clients train in a round. :func:`fedsec.runs.checks.check` refuses a share of no client."""
        return round(self.federation.clients * self.federation.fraction)


def described(section: type) -> dict[str, tuple[Any, str]]:
    """Return default and meaning of every key of a section, by the name of its field."""
    infos: dict[str, Any] = {field.name: field.default for field in fields(section)}
    return {name: (info.default, info.description) for name, info in infos.items()}


def flatten(config: RunConfig) -> Flat:
    """Return the configuration as the keys of Flower's run config; an option that is not given is ``""``."""
    flat: Flat = {}
    for section, values in asdict(config).items():
        for key, value in values.items():
            flat[f"{section}.{key.replace('_', '-')}"] = "" if value is None else value
    return flat


def known_keys() -> list[str]:
    """Return every key that a configuration may hold."""
    return list(flatten(RunConfig()))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as tables: ``{"data.q": 0.5}`` as ``{"data": {"q": 0.5}}``."""
    tables: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        if not name:
            tables[key] = dict(value) if isinstance(value, Mapping) else value
        elif isinstance(tables.setdefault(section, {}), dict):  # else it is no table, which is refused later on
            tables[section][name] = value
    return tables
