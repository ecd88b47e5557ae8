"""What the server measures of a global model after a round: accuracies of a classifier, scores of a generator."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsec.client_app import choose_device
from fedsec.data.datasets import ImageDataset
from fedsec.data.partition import first_of_each_class
from fedsec.holdings import class_names, renumbered, statistics
from fedsec.networks import shared_network
from fedsec.runs.config import RunConfig
from fedsec.scenario import load, measured_pairs, trigger
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.batches import Normalisation
from fedsec.training.evaluation import Evaluator
from fedsec.training.generator_evaluation import GeneratorEvaluator
from fedsec.training.scoring import extractors_of

Arrays = Mapping[str, NDArray[np.generic]]
Measure = Callable[[int, Arrays], dict[str, Any]]
"""From a round and the global model to the fields of its :class:`~fedsec.runs.record.RoundRecord`."""


def measure_of(config: RunConfig, test: ImageDataset, pictures: Path) -> Measure:
    """Return what measures the global models of a run.

    Args:
        config: the run's configuration.
        test: what the server holds out.
        pictures: folder of the images that a generator makes.

    Raises:
        DataError: a data set or the file of its feature extractor cannot be used.
        WeightsError: Inception's weights are named and cannot be used.
    """
    return _of_generator(config, test, pictures) if config.generative else _of_classifier(config, test)


def _of_classifier(config: RunConfig, test: ImageDataset) -> Measure:
    shape = test.images.shape[1:]
    names = class_names(config, test)
    labels = renumbered(test, names)
    kept = first_of_each_class(labels, config.data.share) if config.data.share < 1.0 else slice(None)
    evaluate = Evaluator(
        shared_network(config, shape, len(names)),
        test.images[kept],
        labels[kept],
        len(names),
        Normalisation(*statistics(config, test)),
        trigger(config, shape),
        measured_pairs(config, len(names)),
        choose_device(config.federation.device),
    )

    def measure(server_round: int, arrays: Arrays) -> dict[str, Any]:
        measured = asdict(evaluate(arrays))
        if config.attack.kind == "untargeted":
            measured["BA"] = None  # without a trigger there is no backdoor to measure
        return measured

    return measure


def _of_generator(config: RunConfig, test: ImageDataset, pictures: Path) -> Measure:
    device = choose_device(config.federation.device)
    train = load(config, "train")
    evaluate = GeneratorEvaluator(
        shared_network(config, test.images.shape[1:], len(test.classes)),
        config.fedgan.latent,
        test.images,
        extractors_of(train, None if test.folder == train.folder and len(test) == len(train) else test, device),
        config.fedgan.images,
        derived_seed(config.run.seed, Purpose.GENERATION),
        device,
    )

    def measure(server_round: int, arrays: Arrays) -> dict[str, Any]:
        last = server_round == config.federation.rounds
        if server_round % config.fedgan.score_every and not last:
            return {}
        images = evaluate.draw(arrays)
        evaluate.picture(images, pictures / f"{server_round:06}.png")
        return {"generation": evaluate.scores(images)}

    return measure
