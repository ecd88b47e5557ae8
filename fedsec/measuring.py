"""What the server measures of a global model after a round: accuracies of a classifier, scores of a generator."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.client_app import choose_device
from fedsec.clients.state import ClientState, state_folder
from fedsec.data.datasets import ImageDataset
from fedsec.data.partition import first_of_each_class
from fedsec.holdings import class_names, renumbered, statistics
from fedsec.networks import shared_network
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from fedsec.scenario import load, measured_pairs, public_part, trigger
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.batches import Normalisation
from fedsec.training.evaluation import Evaluator
from fedsec.training.extractor import classifier_extractor
from fedsec.training.generator_evaluation import GeneratorEvaluator
from fedsec.training.pictures import write_picture
from fedsec.training.reconstruction import new_forger
from fedsec.training.reconstruction_evaluation import ClassifierScores, RebuiltImages
from fedsec.training.scoring import extractors_of
from fedsec.victims import accuracies, adversary, began, is_public, private_images, public_test

PICTURES = "generated"

Arrays = Mapping[str, NDArray[np.generic]]
Measure = Callable[[int, Arrays], dict[str, Any]]
"""From a round and the global model to the fields of its :class:`~fedsec.runs.rounds.RoundRecord`."""


def measure_of(config: RunConfig, test: ImageDataset, folder: Path) -> Measure:
    """Return what measures the global models of a run.

    Args:
        config: the run's configuration.
        test: what the server holds out.
        folder: of the run; the images that a generator makes go into ``generated`` in it.

    Raises:
        DataError: a data set or the file of its feature extractor cannot be used.
        WeightsError: Inception's weights are named and cannot be used.
    """
    if config.generative:
        return _of_generator(config, test, folder / PICTURES)
    return _of_classifier(config, test) if adversary(config) is None else _of_reconstruction(config, test, folder)


def _of_classifier(config: RunConfig, test: ImageDataset) -> Measure:
    shape = test.images.shape[1:]
    names = class_names(config, test)
    labels = renumbered(test, names)
    kept = np.setdiff1d(first_of_each_class(labels, config.data.share), public_part(config, labels))
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


def _of_reconstruction(config: RunConfig, test: ImageDataset, folder: Path) -> Measure:
    """Return what measures a federation in which a class is rebuilt; without a trigger there is no BA.

    What the adversary rebuilds stays on its disk. Whoever simulates the federation has that disk, and looks; a server
    in a deployment has not, and its record has of the attack only what it does to the global model.
    """
    device, last = choose_device(config.federation.device), config.federation.rounds
    names = class_names(config, test)
    labels = renumbered(test, names)
    kept = first_of_each_class(labels, config.data.share)
    images, labels = test.images[kept], labels[kept]
    network, normalise = shared_network(config, images.shape[1:], len(names)), Normalisation(*statistics(config, test))
    score = ClassifierScores(network, images, labels, len(names), is_public(config, labels), normalise, device)
    rebuilt = _rebuilt(config, test, device)
    state = ClientState.of(state_folder(), folder.name, adversary(config) or 0)
    known = accuracies(RunFolder(folder).rounds())

    def measure(server_round: int, arrays: Arrays) -> dict[str, Any]:
        plain, scores = score(arrays)
        earlier = {number: accuracy for number, accuracy in known.items() if number < server_round}
        known[server_round] = scores["accuracy"]
        scores["began"] = began(config, earlier) is not None
        sets_off = not scores["began"] and began(config, earlier | {server_round: scores["accuracy"]}) is not None
        if server_round not in (0, last) and not sets_off:
            del scores["roc"]  # kept of the first model, of the one that sets the attack off, and of the last
        if server_round == 0 and rebuilt is not None:
            scores |= {"untrained": rebuilt.untrained(), "real": rebuilt.real()}
        held = state.after(server_round) if rebuilt is not None else {}
        images = rebuilt.draw(held) if rebuilt is not None and held else None
        if rebuilt is not None and images is not None:
            scores["rebuilt"] = rebuilt(images)
            write_picture(images, folder / PICTURES / f"{server_round:06}.png")
        return {**plain, "reconstruction": scores}

    return measure


def _rebuilt(config: RunConfig, test: ImageDataset, device: torch.device) -> RebuiltImages | None:
    private, victim, public = private_images(config), config.attack.victim, public_test(config, test)
    unseen = public.images[public.labels == victim]
    if private is None or not len(private) or not len(unseen):
        return None
    shape, seed = test.images.shape[1:], derived_seed(config.run.seed, Purpose.ATTACK, 0, adversary(config) or 0)
    forger = new_forger(shape, config.attack.generator_rate, seed, device)
    judge = classifier_extractor(load(config, "train"), test, device)
    return RebuiltImages(forger, victim, private, unseen, judge, derived_seed(config.run.seed, Purpose.GENERATION))


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
        write_picture(images, pictures / f"{server_round:06}.png")
        return {"generation": evaluate.scores(images)}

    return measure
