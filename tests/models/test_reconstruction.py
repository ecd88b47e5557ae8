"""The networks of the paper's figure 4."""

import pytest
import torch
from torch import nn

from fedsec.models.reconstruction import ReconstructionClassifier, ReconstructionGenerator


def shapes(network: nn.Module, given: torch.Tensor) -> list[tuple[int, ...]]:
    """Return the shape of what each layer gives for one input."""
    found: list[tuple[int, ...]] = []
    for layer in network.children():
        layer.register_forward_hook(lambda _, __, out: found.append(tuple(out.shape[1:])))
    network(given)
    return found


def test_the_layers_of_the_classifier_are_those_of_figure_4() -> None:
    found = shapes(ReconstructionClassifier(), torch.zeros(1, 1, 28, 28))
    assert found == [(32, 13, 13), (64, 6, 6), (200,), (11,)]


def test_the_layers_of_the_generator_are_those_of_figure_4() -> None:
    found = shapes(ReconstructionGenerator(), torch.zeros(1, 100))
    assert found == [(1568,), (32, 14, 14), (16, 28, 28), (1, 28, 28)]


def test_they_have_the_parameters_that_their_words_say() -> None:
    counts = [sum(p.numel() for p in of.parameters()) for of in (ReconstructionClassifier(), ReconstructionGenerator())]
    assert counts == [482_027, 172_385]


def test_images_are_in_the_range_of_tanh_and_of_other_sizes_and_channels() -> None:
    made = ReconstructionGenerator(3, 32, latent=5)(torch.rand(4, 5) * 100)
    assert made.shape == (4, 3, 32, 32)
    assert made.abs().max() <= 1
    assert ReconstructionClassifier(3, 8, 4)(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_sides_that_they_cannot_have_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 x 8 pixels; got 7"):
        ReconstructionClassifier(1, 7)
    with pytest.raises(ValueError, match="multiple of 4, at least 8; got 30"):
        ReconstructionGenerator(1, 30)
