"""The Flower app's clients: from a node's context to the client that the configuration makes of it."""

from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from flwr.app import Context
from flwr.clientapp import ClientApp
from torch import nn

from fedsec import __version__
from fedsec.clients import BackdoorClient, BenignClient, LocalTask, UntargetedClient, make_client_app
from fedsec.data.datasets import load
from fedsec.models.classifiers import build_classifier
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse_flat
from fedsec.scenario import attack_rounds, code_hash, malicious, partitions, trigger
from fedsec.training.batches import Normalisation
from fedsec.training.classifier import TrainingSettings
from fedsec.training.grouped import GroupedModel, group_model


def build_client(config: RunConfig, partition: int) -> BenignClient:
    """Return the client of one partition: honest, or malicious where the configuration says so."""
    task = _local_task(config, partition)
    attack = config.attack
    if partition not in malicious(config):
        return BenignClient(task)
    rounds = attack_rounds(config)
    if attack.kind == "untargeted":
        return UntargetedClient(task, attack.label_share, rounds)
    if attack.kind == "backdoor":
        stamp = trigger(config, load(config.data.dataset, "train"))
        return BackdoorClient(task, stamp, attack.source, attack.target, rounds)
    raise ValueError(f"attack.kind {attack.kind!r} has malicious clients and no class for them")


def build_client_app(config: RunConfig) -> ClientApp:
    """Return a ClientApp for this configuration, whatever the run config of the context says."""
    return make_client_app(partial(_client_of_node, config), partial(_describe, config))


def choose_device(name: str) -> torch.device:
    """Return the device ``name``; ``"auto"`` takes a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _client_of_node(config: RunConfig, context: Context) -> BenignClient:
    return build_client(config, int(context.node_config["partition-id"]))


def _describe(config: RunConfig, context: Context) -> dict[str, Any]:
    partition = int(context.node_config["partition-id"])
    answer: dict[str, Any] = {
        "partition-id": partition,
        "version": __version__,
        "code": code_hash(),
    }
    if 0 <= partition < config.federation.clients:
        train = load(config.data.dataset, "train")
        held = train.labels[partitions(config)[partition]]
        answer["class-counts"] = np.bincount(held, minlength=len(train.classes)).tolist()
    return answer


def _local_task(config: RunConfig, partition: int) -> LocalTask:
    train = load(config.data.dataset, "train")
    mine = partitions(config)[partition]
    device = choose_device(config.federation.device)
    network = (config.model.name, train.images.shape[1], train.images.shape[2], len(train.classes), device)
    return LocalTask(
        model=_model(*network),
        images=train.images[mine],
        labels=train.labels[mine],
        num_classes=len(train.classes),
        normalise=Normalisation(train.mean, train.std),
        settings=TrainingSettings(
            config.federation.local_epochs,
            config.federation.batch_size,
            config.federation.learning_rate,
            config.federation.momentum,
        ),
        seed=config.run.seed,
        partition=partition,
        device=device,
        grouped=_grouped(*network),
    )


@lru_cache(maxsize=2)
def _model(name: str, channels: int, size: int, num_classes: int, device: torch.device) -> nn.Module:
    # One network a process, filled anew for every client: building a ResNet takes longer than filling it.
    model = build_classifier(name, channels, size, num_classes)
    return model.to(device).to(memory_format=torch.channels_last)


@lru_cache(maxsize=2)
def _grouped(name: str, channels: int, size: int, num_classes: int, device: torch.device) -> GroupedModel | None:
    return group_model(_model(name, channels, size, num_classes, device))


def _from_run_config(context: Context) -> RunConfig:
    return parse_flat(dict(context.run_config), source="run config")


def _client(context: Context) -> BenignClient:
    return _client_of_node(_from_run_config(context), context)


def _description(context: Context) -> dict[str, Any]:
    return _describe(_from_run_config(context), context)


app = make_client_app(_client, _description)
