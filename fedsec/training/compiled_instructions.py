"""What compiled code is made of: functions that numba compiles, and instructions that are spelt out in some of them.

Importing this module takes the time of importing numba.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from llvmlite import binding, ir
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Examples in a vector: float32 in the widest registers there are; narrower ones take a vector in two or four."""

ITEM, LINE = 4, 64
"""Bytes of a float32 and of a vector."""

FEATURES = binding.get_host_cpu_features()


def fuses(machine: str, features: Mapping[str, bool]) -> bool:
    """Tell whether a processor multiplies and adds at once; without that, every product would be a call."""
    return features.get("fma", False) if machine.lower() in ("x86_64", "amd64", "i686", "x86") else True


if not fuses(platform.machine(), FEATURES):
    raise ImportError("this processor has no fused multiply-add")

# The order of a sum is the compiler's; it is the same for the same processor.
FAST = {"reassoc", "contract", "nsz"}

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function when it is first called, from numba's cache on disk where there is one that can be written.

    numba knows by a function's own file whether the cache is old. After a change of this file or of
    :mod:`.compiled_blocks` delete ``__pycache__``.
    """
    try:
        return cast(Function, njit(nogil=True, fastmath=FAST, cache=True)(function))
    except (OSError, RuntimeError):  # no folder for the cache, or a full disk
        return cast(Function, njit(nogil=True, fastmath=FAST)(function))


def emitted(function: Callable[..., Any]) -> Any:
    """Return what compiled functions call for the instructions that ``function`` describes."""
    return intrinsic(function)


FLOAT, INT = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
WHICH = ir.VectorType(ir.IntType(32), LANES)


class Emitter:
    """Emits loads, stores and products at addresses, which are 64-bit integers.

    Args:
        builder: takes the instructions.
        lanes: of its vectors, all of :data:`LANES` or a part of them.
    """

    def __init__(self, builder: ir.IRBuilder, lanes: int = LANES) -> None:
        self.builder, self.lanes, self.kind = builder, lanes, ir.VectorType(FLOAT, lanes)
        kind, name = ir.FunctionType(self.kind, [self.kind] * 3), f"llvm.fma.v{lanes}f32"
        self.fused = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]

    def times(self, number: Any, factor: Any) -> Any:
        """Return a product of integers."""
        return self.builder.mul(number, INT(factor) if isinstance(factor, int) else factor)

    def moved(self, address: Any, *steps: Any) -> Any:
        """Return an address so many bytes on."""
        for step in steps:
            address = self.builder.add(address, step)
        return address

    def _at(self, address: Any, kind: Any) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())

    def integer(self, address: Any) -> Any:
        """Return the integer at an address."""
        return self.builder.load(self._at(address, INT), align=8)

    def vector(self, address: Any) -> Any:
        """Return the vector at an address, a multiple of its bytes."""
        return self.builder.load(self._at(address, self.kind), align=ITEM * self.lanes)

    def same(self, address: Any) -> Any:
        """Return the number at an address in all lanes."""
        number = self.builder.load(self._at(address, FLOAT), align=ITEM)
        nothing = ir.Constant(self.kind, ir.Undefined)
        one = self.builder.insert_element(nothing, number, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, nothing, lanes)

    def keep(self, value: Any, address: Any) -> None:
        """Write a vector to an address, a multiple of its bytes."""
        self.builder.store(value, self._at(address, self.kind), align=ITEM * self.lanes)

    @contextmanager
    def repeated(self, times: Any, sums: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
        """Repeat what is emitted inside with a counter and the sums so far; it leaves the new sums in that list."""
        builder, before = self.builder, self.builder.block
        body, after = builder.append_basic_block(), builder.append_basic_block()
        first = [*sums]
        builder.cbranch(builder.icmp_signed(">", times, INT(0)), body, after)
        builder.position_at_end(body)
        counter = builder.phi(INT)
        carried = [builder.phi(self.kind) for _ in sums]
        inside = [*carried]
        yield counter, inside
        following, end = builder.add(counter, INT(1)), builder.block
        for phi, start, value in zip([counter, *carried], [INT(0), *first], [following, *inside], strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed("<", following, times), body, after)
        builder.position_at_end(after)
        for place, (start, value) in enumerate(zip(first, inside, strict=True)):
            result = builder.phi(self.kind)
            result.add_incoming(start, before)
            result.add_incoming(value, end)
            sums[place] = result
