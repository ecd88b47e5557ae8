"""A cable between a node and its SuperLink that can be cut: everything goes through a port of its own."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from tests.deployment.federation import free_port


class Cable:
    """Forwards connections from a port of this machine to an address, while it is not cut.

    Args:
        to: host and port that it leads to.
    """

    def __init__(self, to: tuple[str, int]) -> None:
        self.to, self.port = to, free_port()
        self._whole, self._ended = threading.Event(), threading.Event()
        self._whole.set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.settimeout(0.2)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.cut()
        self._thread.join(5)
        self._listener.close()

    def cut(self) -> None:
        """End all connections, and let none begin."""
        self._whole.clear()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections begin again."""
        self._whole.set()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            if not self._whole.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(self.to, 5)
            except OSError:
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                source.settimeout(None)
                self._open.add(source)
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()
