"""Who is there: the server asks every node once which partition it holds."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.superlink.grid import InMemoryGrid

from fedsec import __version__
from fedsec.scenario import code_hash
from fedsec.strategies.replies import last_line

POLL_SECONDS = 0.1
SETTLE_SECONDS = 0.3


class FederationError(RuntimeError):
    """The nodes that are there cannot run this configuration; the message says what would do."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself.

    Attributes:
        node_id: its identity, from Flower.
        partition: which partition it holds.
        class_counts: how many examples of each class it holds.
    """

    node_id: int
    partition: int
    class_counts: tuple[int, ...]


def meet(grid: Grid, clients: int, timeout: float, notify: Callable[[str], None]) -> dict[int, NodeReport]:
    """Wait until every partition has its node; return the nodes' reports by partition.

    Args:
        grid: connection to the nodes.
        clients: how many partitions there are.
        timeout: seconds to wait.
        notify: told of every node that is refused, with the reason.

    Raises:
        FederationError: the nodes are too few, or run other code than the server.
    """
    reports: dict[int, NodeReport] = {}
    asked: set[int] = set()
    deadline = time.monotonic() + timeout
    while len(reports) < clients:
        strangers = sorted(set(grid.get_node_ids()) - asked)
        if strangers:
            asked.update(strangers)
            refusals = _ask(grid, strangers, clients, max(deadline - time.monotonic(), 1.0), reports)
            for refusal in refusals:
                notify(refusal)
            if not reports and len(asked) >= clients:
                raise FederationError(f"no node can be used; {refusals[0] if refusals else 'none answered'}")
        elif time.monotonic() > deadline:
            raise FederationError(
                f"{len(reports)} of {clients} clients connected within {timeout:g} s (federation.node-timeout); "
                f"missing partitions: {sorted(set(range(clients)) - set(reports))[:10]}"
            )
        else:
            time.sleep(POLL_SECONDS)
    return reports


def _ask(
    grid: Grid, node_ids: Iterable[int], clients: int, timeout: float, reports: dict[int, NodeReport]
) -> list[str]:
    """Add the nodes' answers to ``reports``; return why a node was refused, a line each."""
    questions = [Message(RecordDict(), node_id, "query.whoami") for node_id in node_ids]
    refusals = []
    for reply in sorted(grid.send_and_receive(questions, timeout=timeout), key=lambda m: m.metadata.src_node_id):
        try:
            report = _report(reply)
        except (KeyError, TypeError, ValueError) as error:
            refusals.append(f"node {reply.metadata.src_node_id} refused: {error}")
            continue
        if not 0 <= report.partition < clients:
            continue  # a larger federation than the configuration needs: the rest stays idle
        if report.partition in reports:
            refusals.append(f"node {report.node_id} refused: partition {report.partition} is taken")
        else:
            reports[report.partition] = report
    return refusals


def is_simulation(grid: Grid) -> bool:
    """Tell whether the nodes are Flower's simulation, on Ray."""
    return isinstance(grid, InMemoryGrid)


def check_simulation(grid: Grid, clients: int) -> None:
    """Raise :class:`FederationError` at once if a simulation has too few nodes; in a deployment more may still come."""
    if not is_simulation(grid):
        return
    before, found = -1, 0
    while found == 0 or found != before:
        time.sleep(SETTLE_SECONDS)  # the nodes of a simulation are registered one right after the other
        before, found = found, len(list(grid.get_node_ids()))
    if found < clients:
        raise FederationError(
            f"the federation has {found} nodes and the configuration needs {clients}: "
            f'flwr run . --federation-config "num-supernodes={clients} client-resources-num-cpus=1"'
        )


def _report(reply: Message) -> NodeReport:
    if reply.has_error():
        raise ValueError(f"it cannot say who it is: {last_line(reply.error.reason)}")
    answer = reply.content.config_records["node"]
    if answer["code"] != code_hash():
        raise ValueError(
            f"it runs other code (fedsec {answer['version']!r}, {answer['code']!r}) than the server "
            f"(fedsec {__version__}, {code_hash()}); install the same version on both"
        )
    partition, counts = answer["partition-id"], answer.get("class-counts", [])
    if not isinstance(partition, int) or not isinstance(counts, list):
        raise TypeError(f"partition-id {partition!r} and class-counts {counts!r} must be a number and a list")
    if not all(isinstance(count, int) and 0 <= count < 2**53 for count in counts):
        raise ValueError(f"class-counts {counts[:10]!r} must be numbers of examples")
    return NodeReport(reply.metadata.src_node_id, partition, tuple(int(count) for count in counts))
