"""Convolutions and what follows them, forward and backward, with sixteen examples side by side in every vector.

Activations are (groups, channels, height, width, 16), float32, with a border of zeros where a convolution wants one.
Every array begins at a multiple of 64 bytes; sizes of steps between things are in bytes.
"""

from typing import Any

import numpy as np

from fedsec.training.compiled_blocks import broadcast_sums, slope_sums, spread
from fedsec.training.compiled_instructions import LANES, LINE, compiled


@compiled
def load_images(images: Any, chosen: Any, values: Any, pad: int, result: Any) -> None:
    """Write the ``chosen`` of the images (N, C, H, W) uint8 as ``values`` (C, 256) into ``result`` with its border."""
    channels, height, width = images.shape[1:]
    for place in range(len(chosen)):
        group, lane, image = place // LANES, place % LANES, images[chosen[place]]
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    result[group, c, y + pad, x + pad, lane] = values[c, image[c, y, x]]


@compiled
def convolve(padded: Any, weights: Any, bias: Any, near: Any, far: Any, result: Any) -> None:
    """Write the convolution of one group ``padded`` (C, H, W, 16) into ``result`` (O, H', W', 16).

    Args:
        padded: what is convolved.
        weights: (C, K, K, O).
        bias: (O,).
        near: (C * K * K,) bytes from the weights to those of each tap.
        far: (C * K * K,) bytes from a place of the result's first row to what each tap takes there.
        result: where the sums go, before any activation.
    """
    outputs, height, width = result.shape[:3]
    for y in range(height):
        broadcast_sums(
            outputs,
            width,
            (weights.ctypes.data, near.ctypes.data, 4),
            (padded.ctypes.data + y * padded.shape[2] * LINE, far.ctypes.data, LINE),
            len(near),
            (bias.ctypes.data, 4),
            (result.ctypes.data + y * width * LINE, height * width * LINE, LINE),
        )


@compiled
def activate(sums: Any, rectify: bool, pad: int, result: Any, chosen: Any) -> None:
    """Write what follows a convolution into ``result``: the largest of four, then what is above zero.

    Args:
        sums: (O, H, W, 16) of one group.
        rectify: whether ReLU follows. What is not a number stays what it is.
        pad: width of the border of ``result`` (O, ...), which is not touched.
        result: where it goes.
        chosen: (O, H // 2, W // 2, 16) int32, which of each 2 x 2 was the largest, row by row; empty without.
    """
    outputs, height, width = sums.shape[:3]
    pool = chosen.size > 0
    if pool:
        height, width = height // 2, width // 2
    for o in range(outputs):
        for y in range(height):
            for x in range(width):
                target = result[o, y + pad, x + pad]
                if pool:
                    kept = chosen[o, y, x]
                    first, second = sums[o, 2 * y, 2 * x], sums[o, 2 * y, 2 * x + 1]
                    third, fourth = sums[o, 2 * y + 1, 2 * x], sums[o, 2 * y + 1, 2 * x + 1]
                    for lane in range(LANES):
                        most, which = first[lane], np.int32(0)
                        others = (second[lane], third[lane], fourth[lane])
                        for number, value in zip((np.int32(1), np.int32(2), np.int32(3)), others):  # noqa: B905
                            larger = (value > most) | (value != value)
                            most = value if larger else most
                            which = number if larger else which
                        kept[lane] = which
                        target[lane] = np.float32(0) if rectify and most <= 0 else most
                else:
                    source = sums[o, y, x]
                    for lane in range(LANES):
                        value = source[lane]
                        target[lane] = np.float32(0) if rectify and value <= 0 else value


@compiled
def deactivate(
    slopes: Any, outputs: Any, pad: int, rectify: bool, chosen: Any, border: int, result: Any, of_bias: Any
) -> None:
    """Write the slopes of a convolution's sums into ``result``, from those of what :func:`activate` made of them.

    Args:
        slopes: (O, h, w, 16) of one group.
        outputs: (O, h + 2 pad, w + 2 pad, 16), what :func:`activate` wrote.
        pad: width of their border.
        rectify: as there.
        chosen: as there.
        border: width of the border of ``result``, which is not touched.
        result: (O, H + 2 border, W + 2 border, 16).
        of_bias: (O, 16), to which the slopes of the biases are added, lane by lane.
    """
    for o in range(slopes.shape[0]):
        for y in range(slopes.shape[1]):
            for x in range(slopes.shape[2]):
                if chosen.size > 0:
                    spread(
                        slopes[o, y, x].ctypes.data,
                        outputs[o, y + pad, x + pad].ctypes.data,
                        rectify,
                        chosen[o, y, x].ctypes.data,
                        of_bias[o].ctypes.data,
                        result[o, 2 * y + border, 2 * x + border].ctypes.data,
                        LINE,
                        result.shape[2] * LINE,
                    )
                    continue
                output = outputs[o, y + pad, x + pad]
                for lane in range(LANES):
                    value = np.float32(0) if rectify and output[lane] <= 0 else slopes[o, y, x, lane]
                    of_bias[o, lane] += value
                    result[o, y + border, x + border, lane] = value


@compiled
def convolution_slopes(slopes: Any, padded: Any, near: Any, far: Any, size: int, result: Any) -> None:
    """Add one group's slopes of the weights to ``result`` (O, C, K, K, 16), lane by lane.

    Args:
        slopes: (O, H, W, 16) with a border.
        padded: (C, ., ., 16), what was convolved.
        near: (places,) bytes from a channel's slopes to that of each place.
        far: (places,) bytes from a channel's images to what each place's first tap takes.
        size: K.
        result: where they are added.
    """
    outputs, channels = result.shape[:2]
    plane, row = slopes.shape[1] * slopes.shape[2] * LINE, padded.shape[2] * LINE
    for c in range(channels):
        for y in range(size):
            slope_sums(
                outputs,
                size,
                (slopes.ctypes.data, near.ctypes.data, plane),
                (padded.ctypes.data + (c * padded.shape[1] + y) * row, far.ctypes.data, LINE),
                len(near),
                (result.ctypes.data + (c * size + y) * size * LINE, channels * size * size * LINE, LINE),
            )


@compiled
def convolve_back(slopes: Any, border: int, weights: Any, near: Any, far: Any, zero: Any, result: Any) -> None:
    """Write the slopes of what was convolved into ``result`` (C, H, W, 16), from those of the sums.

    Args:
        slopes: (O, H' + 2 border, W' + 2 border, 16) of one group.
        border: of zeros around them, K - 1 less the convolution's own padding.
        weights: (K, O, K, C), both K back to front.
        near: (K * O * K,) bytes from the weights to those of each tap.
        far: (K * O * K,) bytes from a place of the first row to what each tap takes there.
        zero: a zero.
        result: where they go.
    """
    channels, height, width = result.shape[:3]
    size, of_row = weights.shape[0], weights.shape[1] * weights.shape[2]
    for y in range(height):
        # Only the rows of taps that meet slopes, not their border.
        first, stop = max(0, border - y), min(size, slopes.shape[1] - border - y)
        terms = max(0, stop - first) * of_row
        broadcast_sums(
            channels,
            width,
            (weights.ctypes.data, near.ctypes.data + 8 * first * of_row, 4),
            (slopes.ctypes.data + y * slopes.shape[2] * LINE, far.ctypes.data + 8 * first * of_row, LINE),
            terms,
            (zero.ctypes.data, 0),
            (result.ctypes.data + y * width * LINE, height * width * LINE, LINE),
        )


@compiled
def sum_lanes(lanes: Any, result: Any) -> None:
    """Write the sums over the last axis of ``lanes`` (n, 16) into ``result`` (n,)."""
    for place in range(len(result)):
        total = np.float32(0)
        for lane in range(LANES):
            total += lanes[place, lane]
        result[place] = total
