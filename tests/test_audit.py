"""The server's own discriminator: it tells stamped from clean, draws from its round alone, and survives a restart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec import audit as audit_module
from fedsec.audit import CriticAudit
from fedsec.data.datasets import ImageDataset
from fedsec.networks import shared_network
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import ConfigError, parse
from fedsec.scenario import audited_on, held_out
from fedsec.training.parameters import get_arrays
from tests.data.folders import write_pngs

CONFIG: RunConfig = parse(
    {
        "data": {"dataset": "digits", "size": 16, "partition": "iid"},
        "model": {"name": "dcgan"},
        "fedgan": {"latent": 4, "width": 4, "critic-width": 8, "precision": "float32"},
        "defense": {"strategy": "loss-forest", "audit": "critic"},
    }
)


class Memory(nn.Module):
    """A generator that draws the images it holds, whatever the noise; with a white corner where its weight says so."""

    def __init__(self, images: NDArray[np.uint8], corner: float = 0.0) -> None:
        super().__init__()
        self.images = torch.from_numpy(images).float().div(127.5).sub(1)
        self.corner = nn.Parameter(torch.tensor([corner]))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        images = self.images[torch.arange(len(z)) % len(self.images)].clone()
        if self.corner:
            images[:, :, -5:, -5:] = 1.0
        return images


@pytest.fixture
def held() -> ImageDataset:
    return held_out(CONFIG)


@pytest.fixture
def audit(held: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> CriticAudit:
    real = np.array(held.images)
    monkeypatch.setattr(audit_module, "shared_network", lambda *_, **__: Memory(real))
    return CriticAudit(CONFIG, held)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_generator_with_the_trigger_has_a_higher_loss_than_a_clean_one(
    audit: CriticAudit, held: ImageDataset
) -> None:
    clean, stamped = (get_arrays(Memory(np.array(held.images), corner)) for corner in (0.0, 1.0))
    for _ in range(10):  # one of four clients is malicious, so the global generator draws some of it
        audit.prepare(stamped, rng())
    assert audit.loss(stamped) > 2 * audit.loss(clean)


def test_the_same_rounds_give_the_same_losses(held: ImageDataset) -> None:
    losses, sent = [], get_arrays(shared_network(CONFIG, (1, 16, 16), 10, seed=1))
    for _ in range(2):
        audit = CriticAudit(CONFIG, held)
        audit.prepare(sent, rng(5))
        losses.append([audit.loss(sent), audit.loss(sent)])
    assert losses[0] == losses[1]
    assert losses[0][0] == losses[0][1]


def test_a_restart_between_two_rounds_changes_nothing(held: ImageDataset) -> None:
    through, before = CriticAudit(CONFIG, held), CriticAudit(CONFIG, held)
    sent = get_arrays(through.generator)
    for one in (through, before):
        one.prepare(sent, rng(1))
    after = CriticAudit(CONFIG, held)
    after.load_state(before.state())
    for one in (through, after):
        one.prepare(sent, rng(2))
    assert after.loss(sent) == through.loss(sent)


def test_arrays_that_are_no_generator_are_an_error_for_the_strategy_to_catch(held: ImageDataset) -> None:
    audit = CriticAudit(CONFIG, held)
    sent = get_arrays(audit.generator)
    audit.prepare(sent, rng())
    with pytest.raises(KeyError):
        audit.loss({})


def test_a_server_without_images_of_its_own_is_refused_rather_than_shown_the_clients_ones(tmp_path: Path) -> None:
    images = [np.full((16, 16), 10 * number, np.uint8) for number in range(8)]
    folder = write_pngs(tmp_path / "only", "train", images, ["a"] * 8)
    config = replace(CONFIG, data=replace(CONFIG.data, dataset=str(folder)))
    assert len(held_out(config)) == 8  # which is what scores fall back to
    with pytest.raises(ConfigError, match=r"defense\.audit: found 'critic', and the server has no images .* 'none'"):
        audited_on(config)
    assert len(audited_on(CONFIG)) == len(held_out(CONFIG))
