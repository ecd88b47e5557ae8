"""Modulated convolutions are those of their definition, image by image and weight by weight."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fedsec.models.modulated_convolution import StyledConvolution, ToImage, modulated_convolution, upsampled

DOUBLE = torch.float64


def slow(x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor, demodulate: bool) -> torch.Tensor:
    """Equations 1 and 3 read aloud: the weights of each image, then one convolution for it alone."""
    images = []
    for image, scale in zip(x, scales, strict=True):
        own = weight.clone()
        for i in range(weight.shape[1]):
            own[:, i] = scale[i] * weight[:, i]
        for o in range(weight.shape[0]) if demodulate else ():
            own[o] /= (own[o].square().sum() + 1e-8).sqrt()
        images.append(F.conv2d(image[None], own, padding=weight.shape[-1] // 2)[0])
    return torch.stack(images)


def slow_up(images: torch.Tensor) -> torch.Tensor:
    """Zeros between the pixels, then [1, 3, 3, 1] / 4 along rows and columns."""
    number, channels, height, width = images.shape
    apart = images.new_zeros(number, channels, 2 * height, 2 * width)
    apart[:, :, ::2, ::2] = images
    padded, out = F.pad(apart, (2, 1, 2, 1)), torch.zeros_like(apart)
    for i, row in enumerate((1, 3, 3, 1)):
        for j, column in enumerate((1, 3, 3, 1)):
            out += row * column / 16 * padded[:, :, i : i + 2 * height, j : j + 2 * width]
    return out


@settings(max_examples=25)
@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 3]), st.booleans()
)
def test_it_is_its_definition(number: int, inputs: int, outputs: int, side: int, kernel: int, demodulate: bool) -> None:
    torch.manual_seed(number + side)
    x, scales = torch.randn(number, inputs, side, side, dtype=DOUBLE), torch.randn(number, inputs, dtype=DOUBLE)
    weight = torch.randn(outputs, inputs, kernel, kernel, dtype=DOUBLE)
    answer = modulated_convolution(x, weight, scales, demodulate=demodulate)
    torch.testing.assert_close(answer, slow(x, weight, scales, demodulate))


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6))
def test_doubled_it_is_its_definition_on_the_upsampled_image(number: int, inputs: int, outputs: int, side: int) -> None:
    torch.manual_seed(number + side)
    x, scales = torch.randn(number, inputs, side, side, dtype=DOUBLE), torch.randn(number, inputs, dtype=DOUBLE)
    weight = torch.randn(outputs, inputs, 3, 3, dtype=DOUBLE)
    answer = modulated_convolution(x, weight, scales, up=True)
    expected = slow(slow_up(F.pad(x, (2, 2, 2, 2))), weight.flip(2, 3), scales, True)[:, :, 4:-4, 4:-4]
    torch.testing.assert_close(answer, expected)


def test_demodulated_outputs_have_unit_variance() -> None:
    torch.manual_seed(0)
    x, weight, scales = torch.randn(8, 32, 24, 24), torch.randn(64, 32, 3, 3), 5 * torch.randn(8, 32)
    inside = modulated_convolution(x, weight, scales)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside.var((2, 3)), torch.ones(8, 64), atol=0.3, rtol=0)
    assert inside.var().item() == pytest.approx(1, abs=0.02)


def test_demodulation_takes_back_the_strength_of_a_style() -> None:
    torch.manual_seed(0)
    x, weight, scales = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    once, thrice = (modulated_convolution(x, weight, factor * scales) for factor in (1, 3))
    torch.testing.assert_close(once, thrice)


def test_upsampling_is_its_definition_and_keeps_a_flat_image() -> None:
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(upsampled(x), slow_up(x))
    torch.testing.assert_close(upsampled(torch.ones(1, 1, 6, 6))[:, :, 1:-1, 1:-1], torch.ones(1, 1, 10, 10))


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(*shape, dtype=DOUBLE, requires_grad=True) for shape in ((2, 2, 3, 3), (3, 2, 3, 3), (2, 2))]
    assert torch.autograd.gradcheck(lambda *xws: modulated_convolution(*xws, up=True), parts, fast_mode=True)


def test_noise_has_the_learned_strength() -> None:
    torch.manual_seed(0)
    layer, x, styles = StyledConvolution(4, 3, 5), torch.randn(2, 4, 6, 6), torch.randn(2, 5)
    still = layer(x, styles, None)
    torch.testing.assert_close(layer(x, styles, torch.Generator().manual_seed(1)), still)
    with torch.no_grad():
        layer.strength.fill_(0.5)
    noisy = layer(x, styles, torch.Generator().manual_seed(1))
    drawn = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    before = torch.where(still > 0, still, still / 0.2)
    torch.testing.assert_close(noisy, F.leaky_relu(before + 0.5 * drawn * 2**0.5, 0.2))


def test_the_style_of_one_image_changes_that_image_alone() -> None:
    torch.manual_seed(0)
    layer, x, styles = ToImage(4, 3, 5), torch.randn(2, 4, 6, 6), torch.randn(2, 5)
    other = torch.cat([styles[:1], styles[1:] + 1])
    assert torch.equal(layer(x, styles)[0], layer(x, other)[0])
    assert not torch.allclose(layer(x, styles)[1], layer(x, other)[1])
