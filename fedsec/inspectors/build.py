"""From a configuration to what looks into a run's models."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedsec.client_app import choose_device
from fedsec.data.datasets import ImageDataset
from fedsec.data.partition import first_of_each_class
from fedsec.holdings import class_names, renumbered, statistics
from fedsec.inspectors.join import inspector_for
from fedsec.inspectors.public import PublicData
from fedsec.networks import shared_network, training_settings
from fedsec.runs.config import RunConfig
from fedsec.scenario import public_part
from fedsec.strategies import STRATEGIES
from fedsec.strategies.inspecting import InspectingStrategy, Inspector
from fedsec.training.batches import Normalisation


def public_problem(config: RunConfig, test: ImageDataset) -> str | None:
    """Return what is wrong with ``data.public``: a class without a public image, or without one to measure on.

    Args:
        config: the run's configuration.
        test: what the server holds out.
    """
    names, found = class_names(config, test), config.data.public
    labels = renumbered(test, names)
    part, measured = public_part(config, labels), first_of_each_class(labels, config.data.share)
    every = np.arange(len(names))
    lacking = np.setdiff1d(every, labels[part])
    used_up = np.setdiff1d(labels[measured], labels[np.setdiff1d(measured, part)])
    inspects = issubclass(STRATEGIES[config.defense.strategy], InspectingStrategy)
    if inspects and len(absent := np.setdiff1d(every, labels)):
        return f"data.public: the test set has no image of {_named(names, absent)}; expected one of every class"
    if inspects and len(lacking):
        return (
            f"data.public: found {found}, without an image of {_named(names, lacking)}; expected at least {len(names)}"
        )
    if len(used_up):
        return f"data.public: found {found}, which leaves no test image of {_named(names, used_up)}; expected fewer"
    return None


def public_data(config: RunConfig, test: ImageDataset) -> PublicData:
    """Return the server's own network and public images.

    Args:
        config: the run's configuration.
        test: what the server holds out; ``data.public`` of its images are public.

    Raises:
        PublicDataError: a class has no image among them.
    """
    names = class_names(config, test)
    labels = renumbered(test, names)
    part = public_part(config, labels)
    return PublicData(
        network=shared_network(config, test.images.shape[1:], len(names)),
        images=np.asarray(test.images[part]),
        labels=labels[part],
        num_classes=len(names),
        normalise=Normalisation(*statistics(config, test)),
        device=choose_device(config.federation.device),
    )


def build_inspector(config: RunConfig, strategy: InspectingStrategy, test: ImageDataset) -> Inspector:
    """Return the inspector of a strategy.

    Raises:
        PublicDataError: there is no public image of a class.
    """
    return inspector_for(strategy, public_data(config, test), training_settings(config))


def _named(names: Sequence[str], classes: NDArray[np.int64]) -> str:
    few = ", ".join(repr(names[label]) for label in classes[:3])
    return f"{few} and {len(classes) - 3} more classes" if len(classes) > 3 else few
