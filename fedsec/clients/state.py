"""What a client keeps between rounds, on its own disk: it outlives the process, the SuperNode and the server.

Each round's state is a file of its own, and the last three are kept. A server that was killed before its checkpoint
does the last round again; the client then starts from the state of before that round, so the run ends with the same
numbers.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsec.durable import remove_partial_files
from fedsec.tensors import DamagedError, read_tensors, write_tensors

Arrays = dict[str, NDArray[np.generic]]
KEPT = 3
"""How many rounds' states are kept: a server whose newest checkpoint is damaged goes on from the one before."""

RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.=,_-]{0,127}")


class StateError(ValueError):
    """A client's state cannot be kept where it is to be."""


@dataclass(frozen=True, slots=True)
class ClientState:
    """The state of one client of one run.

    Attributes:
        folder: where its files are.
    """

    folder: Path

    @classmethod
    def of(cls, top: Path, run: str, partition: int) -> "ClientState":
        """Return the state of a partition's client in a run.

        Args:
            top: folder of all clients' states.
            run: the run's name, as the server tells it.
            partition: which partition the client holds.

        Raises:
            StateError: the name is none; it could be a path to anywhere.
        """
        if not RUN.fullmatch(run):
            raise StateError(f"run: found {run[:80]!r}; expected the name of a run's folder, from a server with fedsec")
        return cls(top / run / str(partition))

    def before(self, server_round: int) -> tuple[Arrays, str]:
        """Return what the client kept after its last round before this one, and a note where that is lost.

        A damaged file is set aside and the client starts anew: it must not be left out of all rounds to come.
        """
        earlier = [path for number, path in self._files() if number < server_round]
        if not earlier:
            return {}, ""
        newest = earlier[-1]
        try:
            return read_tensors(newest)[0], ""
        except DamagedError as error:
            newest.replace(newest.with_suffix(".damaged"))
            return {}, f"its state {newest.name} was damaged ({error}); it started anew"

    def after(self, server_round: int) -> Arrays:
        """Return what the client kept after this very round, or nothing: for who simulates it and looks on."""
        path = dict(self._files()).get(server_round)
        try:
            return {} if path is None else read_tensors(path)[0]
        except DamagedError:
            return {}

    def save(self, server_round: int, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Keep what the client has after a round; forget all but two before, and rounds that are done again.

        Raises:
            OSError: it cannot be written; the earlier states stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_partial_files(self.folder)
        write_tensors(self.folder / f"{server_round:06}.safetensors", arrays, {})
        kept = [number for number, _ in self._files() if number <= server_round][-KEPT:]
        for number, path in self._files():
            if number not in kept:
                path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[int, Path]]:
        return sorted((int(path.stem), path) for path in self.folder.glob("[0-9]*.safetensors") if path.stem.isdigit())


def state_folder(named: str = "") -> Path:
    """Return the folder of clients' states: ``named``, else ``$FEDSEC_STATE``, else one of the user's."""
    default = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "fedsec"
    return Path(named or os.environ.get("FEDSEC_STATE") or default).expanduser().absolute()
