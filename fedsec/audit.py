"""The server measures uploaded generators itself, because a client may lie about its loss.

Not in the paper, which trusts what clients report (section 2.2: they compute in trusted hardware). The server holds out
images of its own. In every round it trains a discriminator of its own to tell them from what the global generator
makes, and takes for a client's loss the one that the client's generator has against it, -E log D(G(z)). A generator
that was trained on stamped images makes the trigger, or whatever its client's discriminator let pass, and no clean
image has that. The loss has one scale for all clients, whatever their own discriminators are like, so it serves
Wasserstein GANs too, whose reported losses have none: a critic's score is defined but for a constant.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedsec.client_app import choose_device
from fedsec.data.datasets import ImageDataset
from fedsec.models.dcgan import DcganDiscriminator
from fedsec.models.drawing import drawn_from
from fedsec.networks import shared_network
from fedsec.runs.config import RunConfig
from fedsec.seeds import Purpose, derived_seed
from fedsec.training.federated_gan import FederatedGanSettings, new_local_pair
from fedsec.training.federated_gan_state import from_arrays, to_arrays
from fedsec.training.federated_gan_steps import opposed
from fedsec.training.gan_batches import as_floats
from fedsec.training.gan_steps import descend, discriminator_loss
from fedsec.training.generator_evaluation import at_once
from fedsec.training.parameters import set_arrays
from fedsec.training.threads import one_thread

Arrays = Mapping[str, NDArray[np.generic]]

STEPS, BATCH = 20, 32
"""Steps of the discriminator in a round, and real images in each."""

IMAGES = 400
"""Images by which a generator is measured; the same noise for every client of a round."""


class CriticAudit:
    """A discriminator on the server, and the losses of clients' generators against it.

    Args:
        config: the run's configuration.
        images: (N, C, H, W) uint8, what the server holds out.
    """

    def __init__(self, config: RunConfig, images: ImageDataset) -> None:
        shape, device = images.images.shape[1:], choose_device(config.federation.device)
        self.generator: nn.Module = shared_network(config, shape, len(images.classes))
        with drawn_from(derived_seed(config.run.seed, Purpose.AUDIT)):
            discriminator = DcganDiscriminator(shape[0], shape[1], config.fedgan.critic_width, "batch")
        settings = FederatedGanSettings(loss="min-max", precision=config.fedgan.precision)
        self._draws = torch.Generator()
        self._pair = new_local_pair(self.generator, discriminator, config.fedgan.latent, settings, self._draws, device)
        self._real, self._latent = torch.from_numpy(np.array(images.images)).to(device), config.fedgan.latent
        self._noise = torch.empty(0)

    def prepare(self, sent: Arrays, rng: np.random.Generator) -> None:
        """Train the discriminator against the global generator that the round's clients were sent."""
        self._draws.manual_seed(int(rng.integers(2**63 - 1)))
        self._load(sent)
        self.generator.train()
        self._pair.discriminator.train()
        with one_thread():
            for _ in range(STEPS):
                chosen = torch.randint(len(self._real), (BATCH,), generator=self._draws).to(self._real.device)
                with torch.no_grad():
                    fake = self._pair.fake(BATCH)
                scores = self._pair.scores(as_floats(self._real[chosen]), fake)
                descend(self._pair.discriminator_optimiser, discriminator_loss(*scores))
        self._noise = torch.randn(IMAGES, self._latent, generator=self._draws).to(self._real.device)

    @torch.no_grad()
    def loss(self, arrays: Arrays) -> float:
        """Return -E log D(G(z)) of a client's generator."""
        self._load(arrays)
        with one_thread():
            self.generator.eval()
            self._pair.discriminator.eval()
            blocks = torch.split(self._noise, at_once(self._real.shape[2]))
            made = torch.cat([self.generator(block).float() for block in blocks])
            return float(opposed(self._pair, made))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the discriminator and its optimiser's moments."""
        return dict(to_arrays(self._pair))

    def load_state(self, state: Arrays) -> None:
        """Take back what :meth:`state` returned."""
        from_arrays(self._pair, dict(state))

    def _load(self, arrays: Arrays) -> None:
        set_arrays(self.generator, [arrays[name] for name in self.generator.state_dict()])
