"""One service of a deployment: a command with its own log, and all processes that come of it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import processes

MARK = "FEDSEC_TEST_SERVICE"
"""Environment variable that every process of a service inherits; its value is the service's folder."""


@dataclass
class Service:
    """A command that can be started, ended and started again. Its output is appended to one file.

    Flower's daemons start others (``flower-superexec``, one ``flwr-clientapp`` for every message), some of which
    outlive them. All of them carry the mark, so that ``kill`` takes away what a power cut would.
    """

    folder: Path
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {**self.environment, MARK: str(self.folder)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds: float) -> int:
        """Wait until the command has ended; return its exit code."""
        if self.process is None:
            raise RuntimeError(f"{self.folder.name} was not started")
        return self.process.wait(seconds)

    def wait_for_text(self, text: str, seconds: float) -> None:
        """Wait until ``text`` is in the log."""
        deadline = time.monotonic() + seconds
        while text not in self.text():
            if not self.running() or time.monotonic() > deadline:
                what = "goes on without" if self.running() else "ended without"
                raise TimeoutError(f"{self.folder.name} {what} {text!r} in its log:\n{self.text()[-4000:]}")
            time.sleep(0.1)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the service, as SIGSTOP and SIGCONT for one that hangs and goes on."""
        for process in processes.with_environment(MARK, str(self.folder)):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue

    def kill(self) -> None:
        """End all processes of the service at once, without asking."""
        deadline = time.monotonic() + 20
        while processes.with_environment(MARK, str(self.folder)):
            self.signal(signal.SIGKILL)
            if self.process is not None:
                self.process.poll()
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes of {self.folder} do not end")
            time.sleep(0.02)
        if self.process is not None:
            self.process.wait(20)

    def stop(self, seconds: float = 15.0) -> None:
        """Ask the command to end, and wait; then end whatever is left of it."""
        if self.process is not None and self.running():
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.kill()
