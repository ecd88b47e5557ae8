"""The feature network takes images of any size that fits, and its logits are those of its features."""

import pytest
import torch

from fedsec.models.drawing import drawn_from
from fedsec.models.feature_net import FEATURES, FeatureNet


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 48, 48), (3, 49, 33), (2, 100, 100)])
def test_every_size_gives_as_many_features(shape: tuple[int, ...]) -> None:
    network = FeatureNet(shape, 7).eval()
    images = torch.rand(2, *shape)
    assert network.features(images).shape == (2, FEATURES)
    assert network(images).shape == (2, 7)
    assert torch.equal(network(images), network.classify(network.features(images)))


def test_a_large_image_is_halved_before_the_wide_layers() -> None:
    sizes = {size: sum(p.numel() for p in FeatureNet((3, size, size), 10).parameters()) for size in (28, 48, 96, 192)}
    assert sizes[28] == sizes[48] < sizes[96] < sizes[192]


def test_the_weights_are_the_seeds() -> None:
    def drawn() -> torch.Tensor:
        with drawn_from(4):
            return FeatureNet((1, 8, 8), 3).classify.weight

    assert torch.equal(drawn(), drawn())


@pytest.mark.parametrize("shape", [(1, 7, 28), (1, 28, 7)])
def test_an_image_that_is_too_small_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 8 x 8 pixels; got"):
        FeatureNet(shape, 3)


def test_a_seed_for_a_network_is_none_for_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    with drawn_from(4):
        drawn = torch.rand(3)
    assert seeded == []
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(4)))
