"""A client fills its classes before the federation starts.  Thesis on GAN balancing, section 4.4, Algorithm 2."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.data.balancing import Counts, missing, skew
from fedsec.data.copies import moved, repeated
from fedsec.data.generated import Entry, Made, kept
from fedsec.data.sources import DataError
from fedsec.holdings import Holding
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.sections import GANS
from fedsec.seeds import Purpose, derived_seed, generator
from fedsec.tensors import Arrays
from fedsec.training.gan import GanFailedError, GanSettings, check_spread, generate, shortcomings, train_gan
from fedsec.training.gan_networks import computes_in_bf16
from fedsec.training.threads import one_thread


@dataclass(frozen=True, slots=True)
class Filled:
    """What a client trains on.

    Attributes:
        images: (N + K, C, H, W) uint8, its own N first.
        labels: (N + K,) their classes.
        report: what came of the filling.
        entry: where what fills its classes is kept; ``None`` where nothing is.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    report: FillingRecord
    entry: Entry | None = None

    @property
    def late_note(self) -> str:
        """What to say of classes that were filled just now, by a client that is to train: the stage was not for it."""
        if self.entry is None or self.report.kept:
            return ""
        text = f"filled its classes just now: {sum(self.report.before)} images became {sum(self.report.after)}"
        return f"{text}; {self.report.note}" if self.report.note else text


def fill(config: RunConfig, partition: int, held: Holding, device: torch.device) -> Filled:
    """Return a client's examples and what fills its classes, made of nothing but these examples.

    A client whose classes are even enough (``data.balance-above``) is left as it is. So is a class of which it has no
    image, and a client whose GAN fails; the report's note says so.

    Args:
        config: the run's configuration.
        partition: which partition the client holds.
        held: its examples.
        device: where its GAN is trained.

    Raises:
        DataError: it holds a class that the federation has not.
        OSError: what was made cannot be kept.
    """
    images, labels = held.images, held.labels
    counts = _counts(partition, held)
    wanted = _wanted(config, counts)
    before = tuple(counts.tolist())
    if not wanted.any():
        return Filled(images, labels, FillingRecord(partition, before, before, 0.0, False, _unfilled(config, counts)))
    if config.data.balance == "repeat":  # which is done as fast as it could be read
        rng = generator(config.run.seed, Purpose.FILLING, 0, partition)
        more, entry, there, note = repeated(images, labels, wanted, rng), None, False, ""
        seconds = 0.0
    else:
        key = _key(config, partition, held, device)
        entry, there, note = kept(key, lambda: _made(config, partition, held, wanted, device))
        more, seconds = (entry.images, entry.labels), float(entry.about["seconds"])
        note = "; ".join(text for text in (note, str(entry.about["note"])) if text)
    note = "; ".join(text for text in (note, _unfilled(config, counts)) if text)
    after = tuple((counts + np.bincount(more[1], minlength=len(counts))).tolist())
    by = _maker(config, device) if after != before else ""
    report = FillingRecord(partition, before, after, seconds, there, note, by)
    return Filled(np.concatenate([images, more[0]]), np.concatenate([labels, more[1]]), report, entry)


def epoch_share(config: RunConfig, report: FillingRecord) -> float:
    """Return which share of a client's examples an epoch takes: all, or as many as it has of its own."""
    if config.data.filled_epoch == "all" or not sum(report.after):
        return 1.0
    return sum(report.before) / sum(report.after)


def gan_settings(config: RunConfig) -> GanSettings:
    """Return how the configuration has each client's GAN trained."""
    balance = config.data.balance
    if balance != "cgan" and balance != "cwgan":
        raise ValueError(f"data.balance {balance!r} is no GAN")
    return GanSettings(kind=balance, **asdict(config.gan))


def _counts(partition: int, held: Holding) -> Counts:
    labels, classes = held.labels, len(held.classes)
    unknown = np.unique(labels[(labels < 0) | (labels >= classes)])
    if len(unknown):
        found = ", ".join(map(str, unknown[:5]))
        raise DataError(f"partition {partition} holds class {found}; the federation has {classes} classes, from 0 on")
    return np.bincount(labels, minlength=classes)


def _wanted(config: RunConfig, counts: Counts) -> Counts:
    if config.data.balance == "none" or skew(counts) <= config.data.balance_above:
        return np.zeros_like(counts)
    return missing(counts, config.data.fill)


def _unfilled(config: RunConfig, counts: Counts) -> str:
    """Return what a person should know of classes that nothing can fill, or ""."""
    if config.data.balance == "none" or skew(counts) <= config.data.balance_above:
        return ""
    empty = np.flatnonzero(counts == 0)
    return f"no image of class {', '.join(map(str, empty))}: nothing to fill it with" if len(empty) else ""


def _maker(config: RunConfig, device: torch.device) -> str:
    """Return what fills classes, for the record: a GAN's images depend on the arithmetic that it was trained in."""
    if config.data.balance not in GANS:
        return config.data.balance
    precision = "bf16" if computes_in_bf16(config.gan.precision, device) else "float32"
    return f"{config.data.balance} in {precision} on {device.type}"


def _key(config: RunConfig, partition: int, held: Holding, device: torch.device) -> dict[str, Any]:
    """Return everything that decides what fills a client's classes."""
    key: dict[str, Any] = {
        "data": held.dataset.folder.name,
        "examples": _examples_hash(held),
        "classes": len(held.classes),
        "client": partition,
        "seed": config.run.seed,
        "balance": config.data.balance,
        "fill": config.data.fill,
    }
    if config.data.balance in GANS:
        bf16 = computes_in_bf16(config.gan.precision, device)
        key |= {"gan": asdict(config.gan), "device": device.type, "bf16": bf16}
    return key


def _examples_hash(held: Holding) -> str:
    digest = hashlib.sha256()
    if held.indices is not None:
        digest.update(held.indices.astype("<i8").tobytes())
    digest.update(held.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _made(config: RunConfig, partition: int, held: Holding, wanted: Counts, device: torch.device) -> Made:
    start = time.perf_counter()
    if config.data.balance == "augment":
        rng = generator(config.run.seed, Purpose.FILLING, 0, partition)
        made = Made(*moved(held.images, held.labels, wanted, rng), {"note": ""})
    else:
        made = _from_gan(config, partition, held, wanted, device)
    about = {**made.about, "seconds": time.perf_counter() - start}
    return Made(made.images, made.labels, about, made.snapshots)


def _from_gan(config: RunConfig, partition: int, held: Holding, wanted: Counts, device: torch.device) -> Made:
    settings, images, classes = gan_settings(config), held.images, len(held.classes)
    seed = derived_seed(config.run.seed, Purpose.FILLING, 0, partition)
    snapshots: dict[int, Arrays] = {}

    def watch(step: int, network: nn.Module) -> None:
        snapshots[step] = _arrays(network.state_dict())

    labels = np.repeat(np.arange(classes), wanted)
    try:
        with one_thread():
            trained = train_gan(images, held.labels, classes, settings, seed, device, watch)
            made = generate(trained.generator, labels, settings.latent, seed, device)
        same_classes = wanted[held.labels] > 0
        check_spread(made, images[same_classes])
        poor = shortcomings(made, labels, images[same_classes], held.labels[same_classes])
    except GanFailedError as error:
        note = f"its GAN failed ({error}); it goes on with its own images only"
        return Made(images[:0], held.labels[:0], {"note": note, "losses": {}})
    losses = {"generator": trained.generator_loss.tolist(), "critic": trained.critic_loss.tolist()}
    note = f"its GAN learned little: {poor}" if poor else ""
    about = {"note": note, "losses": losses, "bf16": computes_in_bf16(settings.precision, device)}
    return Made(made, labels, about, snapshots)


def _arrays(state: Mapping[str, torch.Tensor]) -> Arrays:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in state.items()}
