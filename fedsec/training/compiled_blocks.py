"""Sums of products with sixteen examples side by side, compiled by numba for the processor that it runs on.

An image network is sums of products: what a convolution or a linear layer makes, what flows back through it, and the
slopes of its weights. With sixteen examples in one vector every operation is one on whole vectors, whatever the shape
of an image, and a block of sums stays in registers from its first product to its last. numba compiles plain loops
over arrays without that, hence the instructions that are spelt out here.

Importing this module takes the time of importing numba; whoever trains or asks a small network does it on demand.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from fedsec.training.compiled_instructions import (
    FEATURES,
    INT,
    LANES,
    LINE,
    VECTOR,
    WHICH,
    Emitter,
    compiled,
    emitted,
)

WIDE = bool(FEATURES.get("avx512f"))

PARTS = 1 if WIDE else 2
"""Parts of a vector that a block goes through one after the other: a part fits a register."""

MOST_ROWS, MOST_COLUMNS = (6, 4) if WIDE else (4, 3)
"""Sums of a block: with what they are made of, they fill the registers and no more."""

ROWS_OF_SLOPES, COLUMNS_OF_SLOPES = (5, 5) if WIDE else (2, 5)
"""The same where both factors are vectors."""


def _by_shape(
    builder: ir.IRBuilder, rows: Any, columns: Any, most: tuple[int, int], emit: Callable[[int, int, int], None]
) -> None:
    """Emit a block of every shape up to ``most``, and the choice among them."""
    done = builder.append_basic_block()
    switch = builder.switch(builder.add(builder.mul(rows, INT(most[1] + 1)), columns), done)
    for height in range(1, most[0] + 1):
        for width in range(1, most[1] + 1):
            block = builder.append_basic_block()
            switch.add_case(INT(height * (most[1] + 1) + width), block)
            builder.position_at_end(block)
            for part in range(PARTS):
                emit(height, width, part * LINE // PARTS)
            builder.branch(done)
    builder.position_at_end(done)


@emitted
def _broadcast_block(
    _context: Any, rows: Any, columns: Any, weights: Any, vectors: Any, terms: Any, start: Any, result: Any
) -> Any:
    """Set ``result[r, c]`` to ``start[r]`` plus the sum over t of ``weights[t, r]``, in all lanes, ``* vectors[t, c]``.

    Each of the four is a tuple: an address; then for ``weights`` and ``vectors`` the address of a table with the bytes
    to t, and the bytes between rows or columns; for ``start`` those between rows; for ``result`` both.
    """

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        rows, columns, weights, vectors, terms, start, result = arguments
        weight, of_term, of_row = (builder.extract_value(weights, i) for i in range(3))
        vector, to_term, to_column = (builder.extract_value(vectors, i) for i in range(3))
        first, to_first = (builder.extract_value(start, i) for i in range(2))
        target, target_row, target_column = (builder.extract_value(result, i) for i in range(3))
        emitter = Emitter(builder, LANES // PARTS)

        def emit(height: int, width: int, part: int) -> None:
            by_row = [emitter.times(of_row, row) for row in range(height)]
            by_column = [emitter.moved(emitter.times(to_column, column), INT(part)) for column in range(width)]
            sums = [emitter.same(emitter.moved(first, emitter.times(to_first, row))) for row in range(height)]
            sums = [value for value in sums for _ in range(width)]
            with emitter.repeated(terms, sums) as (term, now):
                place = emitter.times(term, 8)
                near = emitter.moved(weight, emitter.integer(emitter.moved(of_term, place)))
                far = emitter.moved(vector, emitter.integer(emitter.moved(to_term, place)))
                values = [emitter.vector(emitter.moved(far, step)) for step in by_column]
                for row, step in enumerate(by_row):
                    factor = emitter.same(emitter.moved(near, step))
                    for column, value in enumerate(values):
                        place = row * width + column
                        now[place] = builder.call(emitter.fused, [factor, value, now[place]])
            for row in range(height):
                for column in range(width):
                    steps = emitter.times(target_row, row), emitter.times(target_column, column), INT(part)
                    emitter.keep(sums[row * width + column], emitter.moved(target, *steps))

        _by_shape(builder, rows, columns, (MOST_ROWS, MOST_COLUMNS), emit)
        return context.get_dummy_value()

    return types.void(rows, columns, weights, vectors, terms, start, result), generate


@emitted
def _slope_block(_context: Any, rows: Any, columns: Any, slopes: Any, vectors: Any, terms: Any, result: Any) -> Any:
    """Add to ``result[r, c]`` the sum over t of ``slopes[t, r] * vectors[t, c]``, lane by lane; tuples as above."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        rows, columns, slopes, vectors, terms, result = arguments
        slope, of_term, of_row = (builder.extract_value(slopes, i) for i in range(3))
        vector, to_term, to_column = (builder.extract_value(vectors, i) for i in range(3))
        target, target_row, target_column = (builder.extract_value(result, i) for i in range(3))
        emitter = Emitter(builder, LANES // PARTS)

        def emit(height: int, width: int, part: int) -> None:
            targets = [
                emitter.moved(target, emitter.times(target_row, row), emitter.times(target_column, column), INT(part))
                for row in range(height)
                for column in range(width)
            ]
            by_row = [emitter.moved(emitter.times(of_row, row), INT(part)) for row in range(height)]
            by_column = [emitter.moved(emitter.times(to_column, column), INT(part)) for column in range(width)]
            sums = [emitter.vector(place) for place in targets]
            with emitter.repeated(terms, sums) as (term, now):
                place = emitter.times(term, 8)
                near = emitter.moved(slope, emitter.integer(emitter.moved(of_term, place)))
                far = emitter.moved(vector, emitter.integer(emitter.moved(to_term, place)))
                values = [emitter.vector(emitter.moved(far, step)) for step in by_column]
                for row, step in enumerate(by_row):
                    factor = emitter.vector(emitter.moved(near, step))
                    for column, value in enumerate(values):
                        place = row * width + column
                        now[place] = builder.call(emitter.fused, [factor, value, now[place]])
            for value, place in zip(sums, targets, strict=True):
                emitter.keep(value, place)

        _by_shape(builder, rows, columns, (ROWS_OF_SLOPES, COLUMNS_OF_SLOPES), emit)
        return context.get_dummy_value()

    return types.void(rows, columns, slopes, vectors, terms, result), generate


@emitted
def spread(
    _context: Any, slope: Any, output: Any, rectify: Any, chosen: Any, total: Any, target: Any, right: Any, down: Any
) -> Any:
    """Send a pooled vector's slope back to the one of four that ``chosen`` names, zero to the others; all at addresses.

    With ``rectify``, a lane whose output is not above zero has no slope. ``total`` is added to.
    """

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        slope, output, rectify, chosen, total, target, right, down = arguments
        emitter, zero = Emitter(builder), ir.Constant(VECTOR, [0.0] * LANES)
        value = emitter.vector(slope)
        closed = builder.fcmp_ordered("<=", emitter.vector(output), zero)
        value = builder.select(rectify, builder.select(closed, zero, value), value)
        emitter.keep(builder.fadd(emitter.vector(total), value), total)
        which = builder.load(builder.inttoptr(chosen, WHICH.as_pointer()), align=LINE)
        for number in range(4):
            mine = builder.icmp_signed("==", which, ir.Constant(WHICH, [number] * LANES))
            steps = emitter.times(right, number % 2), emitter.times(down, number // 2)
            emitter.keep(builder.select(mine, value, zero), emitter.moved(target, *steps))
        return context.get_dummy_value()

    return types.void(slope, output, rectify, chosen, total, target, right, down), generate


@compiled
def broadcast_sums(
    rows: int,
    columns: int,
    weights: tuple[int, int, int],
    vectors: tuple[int, int, int],
    terms: int,
    start: tuple[int, int],
    result: tuple[int, int, int],
) -> None:
    """Do what :func:`_broadcast_block` says for any number of rows and columns, block by block."""
    high = -(-rows // MOST_ROWS)
    for block in range(high):
        row, stop = rows * block // high, rows * (block + 1) // high
        column = 0
        while column < columns:
            width = min(MOST_COLUMNS, columns - column)
            _broadcast_block(
                stop - row,
                width,
                (weights[0] + row * weights[2], weights[1], weights[2]),
                (vectors[0] + column * vectors[2], vectors[1], vectors[2]),
                terms,
                (start[0] + row * start[1], start[1]),
                (result[0] + row * result[1] + column * result[2], result[1], result[2]),
            )
            column += width


@compiled
def slope_sums(
    rows: int,
    columns: int,
    slopes: tuple[int, int, int],
    vectors: tuple[int, int, int],
    terms: int,
    result: tuple[int, int, int],
) -> None:
    """Do what :func:`_slope_block` says for any number of rows and columns, block by block."""
    high = -(-rows // ROWS_OF_SLOPES)
    for block in range(high):
        row, stop = rows * block // high, rows * (block + 1) // high
        column = 0
        while column < columns:
            width = min(COLUMNS_OF_SLOPES, columns - column)
            _slope_block(
                stop - row,
                width,
                (slopes[0] + row * slopes[2], slopes[1], slopes[2]),
                (vectors[0] + column * vectors[2], vectors[1], vectors[2]),
                terms,
                (result[0] + row * result[1] + column * result[2], result[1], result[2]),
            )
            column += width
