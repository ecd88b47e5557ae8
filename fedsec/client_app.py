"""The Flower app's clients: from a node's context to the client that the configuration makes of it."""

import sys
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from flwr.app import Context
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from torch import nn

from fedsec import __version__
from fedsec.clients import (
    Adversary,
    AllToOneClient,
    BackdoorClient,
    BenignClient,
    EvasiveClient,
    FedGanClient,
    GanTask,
    LocalTask,
    PoisonedGanClient,
    ReconstructionClient,
    UntargetedBackdoorClient,
    UntargetedClient,
    make_client_app,
)
from fedsec.clients.state import state_folder
from fedsec.filling import Filled, epoch_share, fill
from fedsec.holdings import Holding, holding, statistics
from fedsec.models.classifiers import build_classifier
from fedsec.networks import discriminator, shared_network, training_settings
from fedsec.node_settings import NodeSettings, NodeSettingsError, attacks, read_node_config, with_own_attack
from fedsec.runs.checks import check_with_data
from fedsec.runs.config import RunConfig
from fedsec.runs.filling import FillingRecord
from fedsec.runs.loading import ConfigError, parse_flat
from fedsec.scenario import attack_rounds, code_hash, load, malicious, pair_of, stamped_by
from fedsec.training.batches import Normalisation
from fedsec.training.federated_gan import FederatedGanSettings
from fedsec.training.grouped import GroupedModel, group_model
from fedsec.training.reconstruction import ReconstructionSettings
from fedsec.victims import public_test


def build_client(config: RunConfig, partition: int, node: NodeSettings | None = None) -> NumPyClient:
    """Return the client of one partition: honest, or malicious where the configuration says so.

    Args:
        config: the run's configuration.
        partition: which partition.
        node: what the operator of its node says of it; ``None`` in a simulation.

    Raises:
        NodeSettingsError: the run makes it an attacker and the node does not agree, or the other way round.
        DataError: its data cannot be had.
    """
    node = node or NodeSettings(partition)
    held = holding(config, node.partition, node.data)
    if config.generative:
        return _gan_client(config, node, held)
    task = _local_task(config, node, held)
    if not attacks(partition in malicious(config), node):
        return BenignClient(task)
    own = _own_attack(config, node, held)
    attack = own.attack
    if attack.kind == "reconstruction":
        return ReconstructionClient(task, _adversary(own, node))
    if attack.kind == "untargeted":
        return UntargetedClient(task, attack.label_share, attack_rounds(own))
    if attack.kind in ("backdoor", "untargeted-backdoor"):
        attacker = _backdoor(own, task)
        return attacker if attack.evasion == "none" else EvasiveClient(attacker, attack.evasion_weight)
    raise ValueError(f"attack.kind {attack.kind!r} has malicious clients and no class for them")


def build_client_app(config: RunConfig) -> ClientApp:
    """Return a ClientApp of a simulation of this configuration, whatever the run config of the context says."""
    return make_client_app(
        lambda context: build_client(config, _partition(context)),
        lambda context: _describe(config, NodeSettings(_partition(context))),
        lambda context: fill_classes(config, _partition(context)).line(),
    )


def fill_classes(config: RunConfig, partition: int, node: NodeSettings | None = None) -> FillingRecord:
    """Fill the classes of one partition's client, so that :func:`build_client` finds them filled.

    Raises:
        DataError: its data cannot be had.
        OSError: what fills them cannot be kept.
    """
    node = node or NodeSettings(partition)
    return _filled(config, node, holding(config, node.partition, node.data)).report


def choose_device(name: str) -> torch.device:
    """Return the device ``name``; ``"auto"`` takes a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def is_simulated() -> bool:
    """Tell whether this process trains clients of a simulation: one of Ray's does, a SuperNode's does not."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _partition(context: Context) -> int:
    return int(context.node_config["partition-id"])


def _describe(config: RunConfig, node: NodeSettings) -> dict[str, Any]:
    answer: dict[str, Any] = {"partition-id": node.partition, "version": __version__, "code": code_hash()}
    if node.partition < config.federation.clients:
        # Whatever keeps this node from training, it says now, and not in every round.
        attacks(node.partition in malicious(config), node)
        held = holding(config, node.partition, node.data)
        _own_attack(config, node, held)
        answer |= {"class-counts": list(held.class_counts), "classes": list(held.classes)}
    return answer


def _backdoor(config: RunConfig, task: LocalTask) -> BenignClient:
    """Return the client that plants a backdoor: of one class, of every class but the target, or of any labels."""
    attack, rounds = config.attack, attack_rounds(config)
    stamp = stamped_by(config, task.partition, task.images.shape[1:])
    pair = pair_of(config, task.partition, task.num_classes)
    if pair is None:
        return UntargetedBackdoorClient(task, stamp, attack.label_share, rounds)
    source, target = pair
    if source is None:
        return AllToOneClient(task, stamp, target, attack.label_share, rounds)
    return BackdoorClient(task, stamp, source, target, rounds)


def _gan_client(config: RunConfig, node: NodeSettings, held: Holding) -> NumPyClient:
    """Return the client of a federated GAN, honest or malicious."""
    task = _gan_task(config, node, held)
    if not attacks(node.partition in malicious(config), node):
        return FedGanClient(task)
    own = _own_attack(config, node, held)
    stamp = stamped_by(own, node.partition, held.dataset.images.shape[1:])
    return PoisonedGanClient(task, stamp, attack_rounds(own), own.attack.claim)


def _adversary(config: RunConfig, node: NodeSettings) -> Adversary:
    """Return what a client knows and wants that rebuilds another's class."""
    attack, test = config.attack, public_test(config, load(config, "test", node.data))
    return Adversary(
        settings=ReconstructionSettings(
            victim=attack.victim,
            start_accuracy=attack.start_accuracy,
            updates=attack.updates,
            batch_size=config.federation.batch_size,
            learning_rate=attack.generator_rate,
            fakes=attack.fakes,
            total_variation=attack.total_variation,
            jitter=attack.jitter,
        ),
        rounds=attack_rounds(config),
        images=test.images,
        labels=test.labels,
        state=state_folder(node.state),
    )


def _gan_task(config: RunConfig, node: NodeSettings, held: Holding) -> GanTask:
    shape, device = held.dataset.images.shape[1:], choose_device(config.federation.device)
    federation, gan = config.federation, config.fedgan
    return GanTask(
        generator=shared_network(config, shape, len(held.classes)),
        discriminator=partial(discriminator, config, shape),
        latent=gan.latent,
        images=held.images,
        settings=FederatedGanSettings(
            loss=gan.loss,
            epochs=federation.local_epochs,
            batch_size=federation.batch_size,
            learning_rate=federation.learning_rate,
            critic_steps=gan.critic_steps,
            penalty=gan.penalty,
            interpolation=gan.interpolation,
            generator_loss=gan.generator_loss,
            reported=gan.reported,
            precision=gan.precision,
            augment=gan.augment,
        ),
        seed=config.run.seed,
        partition=node.partition,
        device=device,
        state=state_folder(node.state),
    )


def _own_attack(config: RunConfig, node: NodeSettings, held: Holding) -> RunConfig:
    """Return the configuration with the node's own attack options, once they fit its data."""
    own = with_own_attack(config, node)
    if own is not config:
        channels, height, width = held.dataset.images.shape[1:]
        try:
            check_with_data(own, (channels, height, width), len(held.classes), len(held.dataset), source="node-config")
        except ConfigError as error:
            raise NodeSettingsError(str(error)) from None
    return own


def _local_task(config: RunConfig, node: NodeSettings, held: Holding) -> LocalTask:
    federation = config.federation
    device = choose_device(federation.device)
    channels, size = held.dataset.images.shape[1:3]
    network = (config.model.name, channels, size, len(held.classes), device)
    keeps, filled = federation.momentum_buffer == "kept", _filled(config, node, held)
    alone = keeps or federation.optimiser == "adam"  # a cohort takes SGD's steps, and starts without momentum
    return LocalTask(
        model=_model(*network),
        images=filled.images,
        labels=filled.labels,
        epoch_share=_drawn(config, filled),
        own=sum(filled.report.before),
        note=filled.late_note,
        num_classes=len(held.classes),
        normalise=Normalisation(*statistics(config, held.dataset)),
        settings=training_settings(config),
        seed=config.run.seed,
        partition=node.partition,
        device=device,
        grouped=None if alone else _grouped(*network),
        state=state_folder(node.state) if keeps else None,
    )


def _drawn(config: RunConfig, filled: Filled) -> float:
    """Return which share of its examples a client draws for an epoch."""
    share, draw = epoch_share(config, filled.report), config.federation.draw
    return min(share, draw / len(filled.labels)) if draw and len(filled.labels) else share


def _filled(config: RunConfig, node: NodeSettings, held: Holding) -> Filled:
    return fill(config, node.partition, held, choose_device(config.federation.device))


@lru_cache(maxsize=2)
def _model(name: str, channels: int, size: int, num_classes: int, device: torch.device) -> nn.Module:
    # One network a process, filled anew for every client: building a ResNet takes longer than filling it.
    model = build_classifier(name, channels, size, num_classes)
    return model.to(device).to(memory_format=torch.channels_last)


@lru_cache(maxsize=2)
def _grouped(name: str, channels: int, size: int, num_classes: int, device: torch.device) -> GroupedModel | None:
    return group_model(_model(name, channels, size, num_classes, device))


def _node(context: Context) -> tuple[RunConfig, NodeSettings]:
    config, node = parse_flat(dict(context.run_config), source="run config"), read_node_config(context.node_config)
    if node.role is None and not is_simulated():
        node = replace(node, role="honest")  # a node that was not asked to attack does not
    return config, node


def _client(context: Context) -> NumPyClient:
    config, node = _node(context)
    return build_client(config, node.partition, node)


def _description(context: Context) -> dict[str, Any]:
    return _describe(*_node(context))


def _filling(context: Context) -> dict[str, Any]:
    config, node = _node(context)
    return fill_classes(config, node.partition, node).line()


app = make_client_app(_client, _description, _filling)
