"""Clocks that are off, for single processes: compiled here, because a machine's own clock belongs to everybody."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def compiled(folder: Path) -> Path:
    """Compile the library that shifts a process's clock; return it."""
    library = folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
    return library


@dataclass(frozen=True)
class Clock:
    """The clock of one machine.

    Attributes:
        preload: see :func:`compiled`.
        file: holds the seconds by which it is off.
    """

    preload: Path
    file: Path

    @property
    def enter(self) -> tuple[str, ...]:
        """What goes before a command that is to have this clock."""
        return ("env", f"LD_PRELOAD={self.preload}", f"FEDSEC_TEST_CLOCK={self.file}")

    def jump(self, seconds: int) -> None:
        """Set the clock off by so many seconds, in all processes that have it; 0 is right again."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))
