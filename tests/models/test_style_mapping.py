"""A style is its z's direction sent through dense layers, each learning at its rate."""

import pytest
import torch
from torch.nn import functional as F

from fedsec.models.style_mapping import Dense, MappingNetwork, leaky, normalised


def test_a_style_is_what_the_definition_says() -> None:
    torch.manual_seed(0)
    network, z = MappingNetwork(5, 7, 3).double(), torch.randn(4, 5).double()
    expected = z / z.norm(dim=1, keepdim=True) * 5**0.5
    for name, inputs in (("layers.0", 5), ("layers.1", 7), ("layers.2", 7)):
        weight, bias = (network.get_parameter(f"{name}.{part}") for part in ("weight", "bias"))
        expected = F.leaky_relu(expected @ weight.T * 0.01 / inputs**0.5 + 0.01 * bias, 0.2) * 2**0.5
    torch.testing.assert_close(network(z), expected)


def test_only_the_direction_of_z_counts() -> None:
    torch.manual_seed(0)
    network, z = MappingNetwork(64, 32, 8), torch.randn(4, 64)
    torch.testing.assert_close(network(3 * z), network(z))
    torch.testing.assert_close(normalised(z).square().mean(1), torch.ones(4))


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_dense_layer_keeps_the_variance_and_an_optimiser_moves_it_at_its_rate(rate: float) -> None:
    torch.manual_seed(0)
    layer, x = Dense(400, 300, bias=1.0, rate=rate), torch.randn(200, 400)
    before = layer(x).detach()
    assert before.mean().item() == pytest.approx(1, abs=0.02)
    assert before.std().item() == pytest.approx(1, abs=0.02)
    with torch.no_grad():
        layer.bias += 0.1
    torch.testing.assert_close(layer(x) - before, torch.full_like(before, 0.1 * rate), atol=1e-5, rtol=1e-3)


def test_leaky_relu_leaves_the_mean_square_about_as_it_was() -> None:
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    assert leaky(x).square().mean().item() == pytest.approx(1.04, abs=0.02)


def test_styles_keep_their_size_through_eight_layers() -> None:
    torch.manual_seed(0)
    styles = MappingNetwork(64, 512, 8)(torch.randn(100, 64))
    assert 0.5 < styles.square().mean().item() < 2
