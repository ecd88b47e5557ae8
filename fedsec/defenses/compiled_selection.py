"""A selection network on tiles of columns, compiled by numba for the processor that it runs on.

A tile's columns lie beside one another in a small buffer, so that one comparator works on all of them at once. A few
wires at a time are held in registers, and while a tile is worked on, the memory of later ones is fetched. numba
compiles plain loops over two rows of one buffer without either, hence the few instructions that are spelt out here.

Importing this module takes the time of importing numba; :mod:`fedsec.defenses.order_statistics` does it on demand.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fedsec.defenses.selection_network import MOST_WIRES, PATTERNS, Comparator, Network
from fedsec.defenses.updates import IntVector, Matrix

ITEM = 4
"""Bytes of a float32."""

LINE = 64
"""Bytes that memory hands over at once, and of the widest registers; narrower ones take a vector in two or four."""

TILE = 128
"""Columns of a tile: with 50 clients it lies in a core's nearest memory, with a thousand in its second one."""

PITCH = TILE + LINE // ITEM
"""How many floats after a wire the next one begins: comparators often join wires whose distance is a power of two,
and addresses whose distance is one get in each other's way."""

STRIP = 512
"""Tiles are fetched in strips of at most this many tiles times clients, 256 KiB: a part of a core's second memory."""

LONGEST_STRIP = 64
"""In tiles; so long that the first strip of a block of columns, which nothing has fetched, is short beside it."""

_VECTOR = ir.VectorType(ir.FloatType(), LINE // ITEM).as_pointer()
_BYTE, _INT32, _INT64 = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)
_OFFSETS = range(0, TILE * ITEM, LINE)


def compiled_worker(rows: Matrix, network: Network) -> Callable[[slice, NDArray[np.float32], IntVector], None]:
    """Return what averages and counts in a block of columns of ``rows`` (n, d), whose rows each lie in one piece."""
    n, d = rows.shape
    stride = rows.strides[0] // ITEM
    in_a_row = np.lib.stride_tricks.as_strided(rows, ((n - 1) * stride + d,), (ITEM,), writeable=False)
    table, ranks = _table(network), (network.first, network.stop)

    def work(block: slice, averages: NDArray[np.float32], counts: IntVector) -> None:
        _COMPILED(in_a_row, stride, n, (block.start, block.stop), table, ranks, averages, counts)

    return work


def _table(network: Network) -> NDArray[np.int64]:
    """Return (groups, 9): of each group the pattern, and where its wires begin in a tile, in bytes."""
    table = np.zeros((len(network.groups), 1 + MOST_WIRES), np.int64)
    for row, group in zip(table, network.groups, strict=True):
        row[0] = group.pattern
        row[1 : 1 + len(group.wires)] = [wire * PITCH * ITEM for wire in group.wires]
    return table


def _at(builder: ir.IRBuilder, address: Any, offset: int, kind: Any) -> Any:
    return builder.inttoptr(builder.add(address, ir.Constant(address.type, offset)), kind)


def _emit(builder: ir.IRBuilder, comparators: Sequence[Comparator], addresses: Sequence[Any]) -> None:
    """Emit the comparators of a pattern for one tile."""
    for offset in _OFFSETS:
        places = [_at(builder, address, offset, _VECTOR) for address in addresses]
        values = [builder.load(place, align=LINE) for place in places]
        for low, high in comparators:
            one, other = values[low], values[high]
            values[low] = builder.select(builder.fcmp_ordered("<", one, other), one, other)
            values[high] = builder.select(builder.fcmp_ordered(">", one, other), one, other)
        for value, place in zip(values, places, strict=True):
            builder.store(value, place, align=LINE)


@intrinsic
def _compare(_context: Any, pattern: Any, tile: Any, wires: Any) -> Any:
    """Apply a pattern to the tile at an address; where its wires begin there, stands at another, as 64-bit integers."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Sequence[Any]) -> Any:
        number, base, wires = arguments
        done = builder.append_basic_block()
        switch = builder.switch(number, done)
        for i, comparators in enumerate(PATTERNS):
            block = builder.append_basic_block()
            switch.add_case(ir.Constant(number.type, i), block)
            builder.position_at_end(block)
            places = [_at(builder, wires, 8 * wire, _INT64.as_pointer()) for wire in sorted(set(chain(*comparators)))]
            _emit(builder, comparators, [builder.add(base, builder.load(place)) for place in places])
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(pattern, tile, wires), generate


@intrinsic
def _copy(_context: Any, source: Any, target: Any) -> Any:
    """Copy one client's part of a tile from an address to another, which is a multiple of ``LINE``."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Sequence[Any]) -> Any:
        for offset in _OFFSETS:
            there, here = (_at(builder, address, offset, _VECTOR) for address in arguments)
            builder.store(builder.load(there, align=ITEM), here, align=LINE)
        return context.get_dummy_value()

    return types.void(source, target), generate


@intrinsic
def _prefetch(_context: Any, address: Any) -> Any:
    """Ask for one client's part of a tile to be brought near, without waiting; the address need not be valid."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Sequence[Any]) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_BYTE, _INT32, _INT32, _INT32])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", (_BYTE,), kind)
        read, second_memory, data = _INT32(0), _INT32(2), _INT32(1)
        for offset in _OFFSETS:
            builder.call(fetch, [_at(builder, arguments[0], offset, _BYTE), read, second_memory, data])
        return context.get_dummy_value()

    return types.void(address), generate


@njit(nogil=True)
def _aligned(clients: int) -> Any:
    buffer = np.empty(clients * PITCH + LINE // ITEM, np.float32)
    skipped = (-buffer.ctypes.data % LINE) // ITEM
    return buffer[skipped : skipped + clients * PITCH].reshape(clients, PITCH)


@njit(nogil=True)
def _load(rows: Any, stride: int, left: int, width: int, tile: Any) -> None:
    source, target = np.int64(rows.ctypes.data), np.int64(tile.ctypes.data)
    for client in range(len(tile)):
        begin = client * stride + left
        if width == TILE:
            _copy(source + begin * ITEM, target + client * PITCH * ITEM)  # type: ignore[call-arg]
        else:
            tile[client, :width] = rows[begin : begin + width]


@njit(nogil=True)
def _apply(table: Any, tile: Any, fetched: int, stride: int, part: int, tiles_of_strip: int) -> None:
    """Apply the network to the tile, and fetch this ``part`` of the strip of tiles that begins at ``fetched``."""
    base, clients = np.int64(tile.ctypes.data), len(tile)
    for step in range(max(len(table), clients)):
        if step < len(table):
            _compare(table[step, 0], base, np.int64(table[step, 1:].ctypes.data))  # type: ignore[call-arg]
        if step < clients:
            # Client by client: a strip of one client's lies together, and memory hands it over sooner so.
            client, number = divmod(part * clients + step, tiles_of_strip)
            _prefetch(fetched + (client * stride + number * TILE) * ITEM)  # type: ignore[call-arg]


@njit(nogil=True)
def _average(tile: Any, first: int, stop: int, total: Any, result: Any) -> None:
    total[:] = 0.0
    for wire in range(first, stop):
        values = tile[wire]
        for column in range(TILE):
            total[column] += values[column]
    for column in range(len(result)):
        result[column] = total[column] / (stop - first)


@njit(nogil=True)
def _count(rows: Any, stride: int, left: int, width: int, chosen: Any, counts: Any) -> None:
    """Count how many of each client's values lie from the lowest to the highest of the ``chosen`` ones."""
    lowest, highest = chosen[0].copy(), chosen[0].copy()
    for values in chosen[1:]:
        for column in range(TILE):
            lowest[column] = min(lowest[column], values[column])
            highest[column] = max(highest[column], values[column])
    for client in range(len(counts)):
        sent = rows[client * stride + left : client * stride + left + width]
        inside = 0
        for column in range(width):
            inside += (sent[column] >= lowest[column]) & (sent[column] <= highest[column])
        counts[client] += inside


def _select(
    rows: Any,
    stride: int,
    clients: int,
    columns: tuple[int, int],
    table: Any,
    ranks: tuple[int, int],
    result: Any,
    counts: IntVector,
) -> None:
    """Average the values of some ranks in each of some columns, and count whose values lie among them.

    Args:
        rows: the matrix as one long row, float32.
        stride: how many values after a client's row the next one's begins.
        clients: n.
        columns: the first column and one more than the last.
        table: the network, from :func:`_table`.
        ranks: the lowest rank and one more than the highest.
        result: (d,) float32, where the averages go, or (0,) where they are not wanted.
        counts: (n,) int64, to which the counts are added, or (0,) where they are not wanted.
    """
    tile, total = _aligned(clients), np.empty(TILE)
    source: Any = np.int64(rows.ctypes.data)
    tiles_of_strip = 1
    while tiles_of_strip < LONGEST_STRIP and 2 * tiles_of_strip * clients <= STRIP:
        tiles_of_strip *= 2
    for number, left in enumerate(range(columns[0], columns[1], TILE)):
        width = min(TILE, columns[1] - left)
        part = number % tiles_of_strip
        fetched = source + (left + (tiles_of_strip - part) * TILE) * ITEM
        _load(rows, stride, left, width, tile)
        _apply(table, tile, fetched, stride, part, tiles_of_strip)
        if len(result):
            _average(tile, ranks[0], ranks[1], total, result[left : left + width])
        if len(counts):
            _count(rows, stride, left, width, tile[ranks[0] : ranks[1]], counts)


_PAIR: Any = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
_SIGNATURE = types.void(
    types.Array(types.float32, 1, "C", readonly=True),
    types.int64,
    types.int64,
    _PAIR,
    types.int64[:, ::1],
    _PAIR,
    types.float32[::1],
    types.int64[::1],
)


def _machine_code() -> Any:
    """Return :func:`_select` compiled, from numba's cache on disk where there is one that can be written."""
    try:
        return njit(_SIGNATURE, nogil=True, cache=True)(_select)
    except (OSError, RuntimeError):  # no folder for the cache, or a full disk
        return njit(_SIGNATURE, nogil=True)(_select)


_COMPILED = _machine_code()
