"""The sections of the configuration: every key, its default and what it means; ``attack_section`` has the attack's."""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as validated

from fedsec.data.balancing import Fill
from fedsec.defenses.flame import ClusteredBy
from fedsec.defenses.krum import Distance, Neighbours
from fedsec.defenses.loss_forest import Gate, Sides
from fedsec.defenses.mean import Weighting
from fedsec.defenses.norm_clipping import NoiseScale
from fedsec.runs.values import (
    SECTION,
    Count,
    Flag,
    Float,
    FolderPath,
    Int,
    Name,
    PartitionList,
    Share,
    about,
)
from fedsec.strategies.abnormal_clients import Threshold
from fedsec.strategies.gancrop import Repair
from fedsec.strategies.gansweep import Models
from fedsec.strategies.layout import BatchNorm
from fedsec.strategies.trimmed_mean import Trim

StrategyName = Literal[
    "fedavg",
    "krum",
    "multi-krum",
    "trimmed-mean",
    "median",
    "norm-clip-noise",
    "flame",
    "loss-forest",
    "gancrop",
    "gansweep",
    "abnormal-clients",
]
PartitionName = Literal["iid", "label-skew", "dirichlet", "one-class", "own"]
MomentumBuffer = Literal["reset", "kept"]
Shortage = Literal["stop", "wait", "skip"]
OptimiserName = Literal["sgd", "adam"]
ModelName = Literal["lenet5", "resnet18", "resnet8", "reconstruction", "dcgan", "stylegan2"]
GENERATORS = ("dcgan", "stylegan2")
"""Models that make images: with them the run is a federated GAN."""
FedganLoss = Literal["min-max", "wgan-gp"]
Interpolation = Literal["uniform", "normal"]
GeneratorLoss = Literal["non-saturating", "saturating"]
ReportedLoss = Literal["epoch-mean", "last-batch"]
Augment = Literal["none", "ada"]
Audit = Literal["none", "critic"]
GANS = ("cgan", "cwgan")
FilledEpoch = Literal["all", "own"]
BalanceName = Literal["none", "cgan", "cwgan", "repeat", "augment"]
Precision = Literal["auto", "bf16", "float32"]


@validated(frozen=True, config=SECTION)
class RunSection:
    """Which run this is."""

    name: Name = about("name of the run's folder", "quickstart")
    seed: Int = about("seed of every random draw", 0, ge=0, le=2**31 - 1)
    output: FolderPath = about('folder of the records; "" is runs/ in the current folder', "")
    resume: Flag = about("go on with the newest unfinished run of this configuration", False)


@validated(frozen=True, config=SECTION)
class DataSection:
    """What is learned, and who holds what of it."""

    dataset: str = about("digits, mnist, fashion_mnist, cifar10, dermamnist, a folder, or a hub id", "digits")
    partition: PartitionName = about(
        "how the training examples are dealt out; own: each client has a data set of its own", "label-skew"
    )
    folders: str = about('own: a client\'s folder in a simulation, "{partition}" in it; a node names its own', "")
    classes: str = about('own: names of the classes in order, with commas; "" are those of the data set', "")
    held: PartitionList = about(
        'one-class: the class of each client in turn, such as "7 3"; the clients beyond hold nothing; "" deals classes '
        "out in turn",
        "",
    )
    q: Float = about("label skew: probability that an example goes to its class's group", 0.3, gt=0.0, le=1.0)
    share: Share = about("share of the examples that is used, of each class of the training and of the test set", 1.0)
    public: Int = about(
        "test images that are the server's own, for a defense that needs them; nothing is measured on them",
        0,
        ge=0,
        le=1_000_000,
    )
    size: Int = about("side in pixels to which the images are scaled; 0 leaves them as they are", 0, ge=0, le=1024)
    grey: Flag = about("whether colours are turned into grey", False)
    alpha: Float = about("concentration of the Dirichlet partition; small is skewed", 0.5, gt=0.0, le=1e6)
    balance: BalanceName = about(
        "what fills a client's classes: cgan, cwgan (a GAN of its own), repeat (its images), augment (moved ones)",
        "none",
    )
    fill: Count | Fill = about(
        "up to where each class is filled: largest or mean of the client's classes, or a number", "largest"
    )
    filled_epoch: FilledEpoch = about(
        "an epoch of a client that filled its classes takes all, or as many as it has of its own, drawn anew", "all"
    )
    balance_above: Float = about(
        "a client fills only above this skew (0: even classes, 1 - 1/classes: one)", 0.1, ge=0.0, le=1.0
    )


@validated(frozen=True, config=SECTION)
class GanSection:
    """The GAN by which each client fills its classes, with ``data.balance`` cgan or cwgan."""

    steps: Count = about("steps of the generator", 600)
    batch_size: Count = about("images in a step, evenly of the client's classes", 64)
    learning_rate: Float = about("step size of Adam", 0.002, gt=0.0, le=1.0)
    latent: Count = about("length of the noise z", 64)
    width: Count = about("channels of the generator's widest layer", 32)
    shift: Int = about("pixels by which real and generated images are moved at random in training", 2, ge=0, le=16)
    critic_steps: Count = about("cwgan: steps of the critic for each of the generator", 5)
    penalty: Float = about("cwgan: weight of the gradient penalty (lambda)", 10.0, gt=0.0, le=1e6)
    precision: Precision = about("auto: bf16 where the processor has it", "auto")


@validated(frozen=True, config=SECTION)
class ModelSection:
    """What is trained."""

    name: ModelName = about("network; with dcgan or stylegan2 the federation trains a GAN", "lenet5")


@validated(frozen=True, config=SECTION)
class FedganSection:
    """The federated GAN, with ``model.name`` dcgan or stylegan2: clients exchange its generator and nothing else."""

    loss: FedganLoss = about("min-max (Adam, BatchNorm) or wgan-gp (RMSprop, InstanceNorm)", "min-max")
    latent: Count = about("length of the noise z", 64)
    width: Count = about("dcgan: channels of the generator's layer before the last", 64)
    style: Count = about("stylegan2: length of the style w", 128)
    mapping_layers: Count = about("stylegan2: layers of the mapping network", 8)
    channel_base: Count = about("stylegan2: channels of a layer, times its side, but for the next bound", 32768)
    channel_max: Count = about("stylegan2: most channels of a layer", 512)
    critic_width: Count = about("channels of the discriminator's first layer", 64)
    critic_steps: Count = about("wgan-gp: steps of the critic for each of the generator", 1)
    penalty: Float = about("wgan-gp: weight of the gradient penalty (lambda)", 10.0, gt=0.0, le=1e6)
    interpolation: Interpolation = about(
        "wgan-gp: how real and generated images are mixed: uniform (the paper), normal (its code)", "uniform"
    )
    generator_loss: GeneratorLoss = about(
        "min-max: the generator makes -log D(G(z)) small (non-saturating), or log(1 - D(G(z))) (saturating)",
        "non-saturating",
    )
    reported: ReportedLoss = about(
        "loss that a client reports: mean of its epoch, or of the last batch (the paper's code)", "epoch-mean"
    )
    augment: Augment = about("none, or ada: adaptive augmentation of what the discriminator sees", "none")
    precision: Precision = about("auto: bf16 where the processor has it", "auto")
    images: Count = about("images that the server generates to score a global generator", 1000)
    score_every: Count = about("rounds between two scores; the first and the last round are always scored", 1)


@validated(frozen=True, config=SECTION)
class FederationSection:
    """How the federation trains."""

    clients: Count = about("number of clients; each holds one partition", 10)
    rounds: Count = about("rounds of training", 16)
    fraction: Share = about("share of the clients that train in a round", 1.0)
    local_epochs: Count = about("passes of a client over its examples in a round", 2)
    batch_size: Count = about("examples in a step of SGD", 8)
    draw: Int = about("examples that a client draws anew for each epoch; 0 takes all", 0, ge=0, le=1_000_000)
    optimiser: OptimiserName = about("of the clients: sgd, or adam (betas 0.5 and 0.999, epsilon 1e-7)", "sgd")
    learning_rate: Float = about("step size of the clients' optimiser", 0.1, gt=0.0, le=100.0)
    momentum: Float = about("momentum of the clients' SGD", 0.0, ge=0.0, lt=1.0)
    momentum_buffer: MomentumBuffer = about(
        "reset: each round's momentum, or Adam's moments, start at zero; kept: where the client's last ones ended",
        "reset",
    )
    min_replies: Count = about("fewest good replies with which a round counts", 1)
    min_clients: Int = about(
        "fewest connected clients for a round; 0: all at the start, then as many as the defense needs",
        0,
        ge=0,
        le=1_000_000,
    )
    shortage: Shortage = about(
        "with fewer after node-timeout: stop (go on with --resume), wait for them, or skip the round", "stop"
    )
    round_timeout: Float = about("seconds after which a silent client is given up", 3600.0, gt=0.0)
    node_timeout: Float = about(
        "seconds to wait for clients that are not connected, at the start and before each round", 120.0, gt=0.0
    )
    balance_timeout: Float = about("seconds after which a client that fills its classes is given up", 36000.0, gt=0.0)
    device: Literal["auto", "cpu", "cuda"] = about("where the clients train; auto takes a GPU if there is one", "auto")
    gpus_per_client: Float = about("share of a GPU that a client takes on Ray; 0 shares all evenly", 0.0, ge=0, le=1)
    cohort_size: Int = about("most clients trained at once with --engine cohort; 0 measures", 0, ge=0, le=10_000)


@validated(frozen=True, config=SECTION)
class DefenseSection:
    """What the server does about it. ``""`` leaves an option at the strategy's own default."""

    strategy: StrategyName = about("defense; fedavg is none", "fedavg")
    batchnorm: BatchNorm = about("statistics of BatchNorm: apart from what the defense sees, or included", "apart")
    weighting: Weighting | None = about("fedavg: equal, or examples (as the clients claim)", None)
    num_malicious: Int | None = about("krum, multi-krum: malicious clients to expect (f)", None, ge=0, le=1_000_000)
    neighbours: Neighbours | None = about("krum: nearest n - f - 2 (the paper), or all (the thesis)", None)
    distance: Distance | None = about("krum, multi-krum, trimmed-mean: squared, or euclidean", None)
    num_selected: Int | None = about("multi-krum: updates to average (m)", None, ge=1, le=1_000_000)
    trim_ratio: Float | None = about("trimmed-mean: share of the clients to trim (beta)", None, gt=0.0, lt=1.0)
    trim: Trim | None = about("trimmed-mean: coordinates (the paper), or updates (the thesis)", None)
    clip: Annotated[Float, Field(gt=0.0)] | Literal["median"] | None = about(
        "norm-clip-noise, flame: highest L2 norm of an update, in units of the weights, or median", None
    )
    noise: Float | None = about("norm-clip-noise, flame: standard deviation of the noise", None, ge=0.0)
    noise_scale: NoiseScale | None = about("norm-clip-noise, flame: absolute, or a multiple of the clip", None)
    clustered_by: ClusteredBy | None = about("flame: cosines of models (the paper) or updates (the thesis)", None)
    warmup_rounds: Int | None = about(
        "loss-forest: m of the paper, which counts from 0: m + 1 rounds go without detection", None, ge=0, le=1_000_000
    )
    decay: Share | None = about("loss-forest: by which a weight is multiplied c times at its c-th flag (d)", None)
    gate: Gate | None = about("loss-forest: flagged at once are fewer than n/2 (half), or n // 2 (whole-half)", None)
    absolute: Flag | None = about("loss-forest: judge the absolute value of a loss", None)
    sides: Sides | None = about("loss-forest: flag both ends of the losses (the paper), or the high one", None)
    recovery: Float | None = about(
        "loss-forest: share of the way back to its weight that a client goes where it is not flagged",
        None,
        ge=0.0,
        le=1.0,
    )
    floor: Float | None = about(
        "loss-forest: robust standard deviations from the median below which nobody is flagged; 0 is off", None, ge=0.0
    )
    smoothing: Float | None = about(
        "loss-forest: share of a client's earlier losses in the one that is judged", None, ge=0.0, lt=1.0
    )

    shadows: Int | None = about(
        "gancrop, abnormal-clients: models that the server trains to learn from", None, ge=2, le=100_000
    )
    checks: Int | None = about("gancrop: models that it trains in other rounds, to check", None, ge=0, le=100_000)
    repair: Repair | None = about(
        "gancrop: models called poisoned are repaired as their average, each (the paper), or none: left out", None
    )
    false_alarms: Float | None = about("gancrop: share of clean models that may be called poisoned", None, gt=0, lt=1)
    models: Models | None = about("gansweep: what is swept: global, the average, or each client's model", None)
    recovery_steps: Int | None = about(
        "gancrop, gansweep: steps of the generator of triggers", None, ge=1, le=1_000_000
    )
    unlearning_epochs: Int | None = about("gancrop, gansweep: passes over the public images", None, ge=1, le=10_000)
    unlearning_rate: Float | None = about("gansweep: learning rate meanwhile", None, gt=0.0, le=100.0)
    refresh: Int | None = about("abnormal-clients: rounds after which it trains models anew", None, ge=1, le=1_000_000)
    surrogate_size: Int | None = about("abnormal-clients: values for an update", None, ge=1, le=1_000_000)
    credit: Float | None = about("abnormal-clients: L, of a weight error^-L", None, ge=0.0, le=100.0)
    threshold: Threshold | None = about("abnormal-clients: leave out errors above the mean, or none", None)
    audit: Audit = about(
        "of a federated GAN, loss-forest: none, or critic: the server measures each generator's loss itself", "none"
    )

    def options(self) -> dict[str, Any]:
        """Return the options of the strategy that are given, by the keyword of its constructor."""
        names = [field.name for field in fields(self) if field.name not in ("strategy", "batchnorm", "audit")]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
