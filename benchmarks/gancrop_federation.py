"""The federation whose model clients and shadows start from, for :mod:`benchmarks.gancrop_models`: plain averaging.

A folder may keep the model of every round. Another call with the same setting then goes on from the last one that it
wants, and ends with the same models as one that began anew: the draws of a round depend on the seed and its number.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.gancrop_setting import Setting
from fedsec.data.partition import PartitionSettings, partition
from fedsec.inspectors.public import Arrays, PublicData
from fedsec.tensors import DamagedError, read_tensors, write_tensors
from fedsec.training.parameters import get_arrays
from fedsec.training.shadows import Shadow, train_shadows

Model = dict[str, NDArray[np.generic]]


def clients(setting: Setting, scheme: Literal["dirichlet", "label-skew"], train: Any) -> Iterator[Shadow]:
    """Yield what each client holds of the training images, those without any left out."""
    labels = np.asarray(train.labels)
    dealt = PartitionSettings(scheme, setting.clients, 0.5, 0.7, setting.seed, setting.share)
    for part in partition(labels, len(train.classes), dealt):
        if len(part):
            yield Shadow(np.asarray(train.images[part]), labels[part])


def trained(
    public: PublicData, sent: Arrays, held: Sequence[Shadow], setting: Setting, rng: np.random.Generator
) -> list[Model]:
    """Return the model of everyone who holds something, trained from the one that was ``sent``."""
    made = train_shadows(public.network, sent, held, public.normalise, setting.training, public.device, rng)
    return [dict(zip(sent, arrays, strict=True)) for arrays in made]


def federation(public: PublicData, held: Sequence[Shadow], setting: Setting) -> tuple[Model, Model]:
    """Return the models after ``setting.shadow_round`` and after ``setting.round`` rounds, which may be the same."""
    earlier = _after(setting.shadow_round, (0, get_arrays(public.network)), public, held, setting)
    return earlier, _after(setting.round, (setting.shadow_round, earlier), public, held, setting)


def _after(last: int, start: tuple[int, Model], public: PublicData, held: Sequence[Shadow], setting: Setting) -> Model:
    """Return the model after the round ``last``, from the last one that is kept, or from that of an earlier round."""
    done, sent = _kept(setting, last, start)
    for number in range(done + 1, last + 1):
        rng = np.random.default_rng((setting.seed, number))
        sent = mean_model(sent, trained(public, sent, held, setting, rng))
        if setting.keep:
            write_tensors(_path(setting, number), sent, {})
    return sent


def mean_model(sent: Arrays, models: Sequence[Arrays]) -> Model:
    """Return the mean of some models, with the names and types of the one that was ``sent``."""
    return {
        name: np.mean([model[name].astype(np.float64) for model in models], axis=0).astype(array.dtype)
        for name, array in sent.items()
    }


def _kept(setting: Setting, last: int, start: tuple[int, Model]) -> tuple[int, Model]:
    for number in range(last if setting.keep else 0, start[0], -1):
        if (path := _path(setting, number)).exists():
            try:
                return number, read_tensors(path)[0]
            except DamagedError as error:
                raise SystemExit(f"{path}: {error}. Delete it, and the round is done again.") from error
    return start


def _path(setting: Setting, number: int) -> Path:
    """Return the file of a round: its name depends on all that the model does."""
    about = (setting.dataset, setting.model, setting.clients, setting.share, setting.seed, setting.training)
    key = hashlib.sha256(repr(about).encode()).hexdigest()[:12]
    return Path(setting.keep or ".") / f"{setting.dataset}-{setting.model}-{key}-{number:04}.safetensors"
