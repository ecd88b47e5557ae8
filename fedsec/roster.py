"""Which node holds which partition, kept true while nodes come and go."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from flwr.serverapp import Grid

from fedsec.nodes import FederationError, NodeReport, NoReportError, ask, report_of
from fedsec.runs.sections import Shortage

POLL_SECONDS = 0.1
HEAR_SECONDS = 10.0
"""A node that came back is given so long to say who it is before a round begins without it."""

ASK_AGAIN_SECONDS = 30.0
"""A question that was not answered for so long is asked again; an answer to the first one still counts."""

LISTED = 10


class Roster:
    """The nodes of a run. A node is asked once who it is; one that went away and came back is asked anew.

    Args:
        grid: connection to the nodes.
        clients: how many partitions there are; nodes with higher ones stay idle.
        timeout: seconds to wait for missing nodes.
        notify: told of every node that is refused, and of nodes that went away and came back.
        objection: why a node that has answered cannot take part, or "".
        min_clients: with how many the run may start when the others do not come; 0 waits for all.
        shortage: with too few after the wait, ``"stop"`` ends the run, ``"wait"`` waits again, ``"skip"`` leaves the
            round out; a run does not start with too few to train.

    Attributes:
        reports: what the connected nodes say of themselves, by partition.
        heard: the last that any node of a partition said of itself, connected or not.
    """

    def __init__(
        self,
        grid: Grid,
        clients: int,
        timeout: float,
        notify: Callable[[str], None],
        *,
        objection: Callable[[NodeReport], str] = lambda report: "",
        min_clients: int = 0,
        shortage: Shortage = "stop",
    ) -> None:
        self.reports: dict[int, NodeReport] = {}
        self.heard: dict[int, NodeReport] = {}
        self._objection, self._min_clients, self._policy = objection, min_clients, shortage
        self._grid, self._clients, self._timeout, self._notify = grid, clients, timeout, notify
        self._asked: dict[int, float] = {}  # when a node was last asked
        self._open: dict[str, int] = {}  # questions without an answer, and whom they went to
        self._refused: dict[int, str] = {}
        self._spare: dict[int, NodeReport] = {}  # beyond the configuration, or holding what another node holds too
        self._given_up: frozenset[int] = frozenset()
        self._slow: set[int] = set()  # nodes that let the moment pass in which a round waits for their answer

    @property
    def partition_of(self) -> dict[int, int]:
        """Partition of each node that is needed and connected."""
        return {report.node_id: partition for partition, report in self.reports.items()}

    def meet(self, enough: Callable[[int], bool]) -> None:
        """Wait until every partition has its node, or for the whole time-out where fewer will do.

        Args:
            enough: tells whether a round can be done with so many nodes.

        Raises:
            FederationError: the nodes are too few, or none of them can be used.
        """
        deadline = time.monotonic() + self._timeout
        while missing := self._update():
            if len(self._refused) >= self._clients and not (self.reports or self._open):
                raise FederationError(f"no node can be used; {next(iter(self._refused.values()))}")
            if time.monotonic() > deadline:
                if self._min_clients and enough(len(self.reports)):
                    self._notify(f"{_partitions(missing)} not connected; the run starts without")
                    self._given_up = frozenset(missing)
                    return
                if self._policy != "wait":
                    raise FederationError(self._shortage(missing))
                self._notify(f"{self._shortage(missing)}; waiting on")
                deadline = time.monotonic() + self._timeout
            time.sleep(POLL_SECONDS)

    def look(self) -> Mapping[int, NodeReport]:
        """Return what the nodes that are connected now say of themselves, by partition, without waiting."""
        self._update()
        return dict(self.reports)

    def attend(self, enough: Callable[[int], bool]) -> tuple[int, ...]:
        """Return the partitions that a round has to do without; wait first where one is missing.

        A partition that did not come back in time is not waited for again, but takes part again once it is back.

        Args:
            enough: tells whether a round can be done with so many nodes.

        Raises:
            FederationError: after the wait the nodes are still too few for a round.
        """
        before, missing = self._given_up, self._hear(self._update())
        if missing and self._is_short(missing, enough):
            self._notify(f"{_partitions(missing)} not connected; waiting up to {self._timeout:g} s")
            before = before | set(missing)
            missing = self._await(missing, enough)
            while self._policy == "wait" and not enough(len(self.reports)):
                self._notify(f"too few for a round: {self._shortage(missing)}; waiting on")
                missing = self._await(missing, enough)
            if self._policy == "stop" and not enough(len(self.reports)):
                raise FederationError(f"too few for a round: {self._shortage(missing)}; go on with --resume")
            if lost := set(missing) - self._given_up:
                self._notify(f"{_partitions(lost)} still not connected; the run goes on without")
        if back := before - set(missing):
            self._notify(f"{_partitions(back)} connected again")
        self._given_up = frozenset(missing)
        return missing

    def _hear(self, missing: tuple[int, ...]) -> tuple[int, ...]:
        """Wait a moment for nodes that came back and were just asked: they then take part in this round already.

        A node that lets the moment pass is not waited for again.
        """
        until = time.monotonic() + HEAR_SECONDS
        while missing and (open_ := set(self._open.values()) - self._slow) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            missing = self._update()
        if missing:
            self._slow |= open_
        return missing

    def _await(self, missing: tuple[int, ...], enough: Callable[[int], bool]) -> tuple[int, ...]:
        """Wait for nodes, at most for the time-out; return the partitions that are still missing."""
        deadline = time.monotonic() + self._timeout
        while self._is_short(missing, enough) and time.monotonic() <= deadline:
            time.sleep(POLL_SECONDS)
            missing = self._update()
        return missing

    def _is_short(self, missing: Sequence[int], enough: Callable[[int], bool]) -> bool:
        return not self._given_up.issuperset(missing) or not enough(len(self.reports))

    def _update(self) -> tuple[int, ...]:
        """Look who is connected, ask and listen where partitions are missing; return those that still are."""
        connected = set(self._grid.get_node_ids())
        self._forget_all_but(connected)
        if self._missing():
            self._ask(connected)
            self._listen()
            self._seat()
        return self._missing()

    def _missing(self) -> tuple[int, ...]:
        return tuple(partition for partition in range(self._clients) if partition not in self.reports)

    def _forget_all_but(self, connected: Collection[int]) -> None:
        self.reports = {p: report for p, report in self.reports.items() if report.node_id in connected}
        self._spare = {node: report for node, report in self._spare.items() if node in connected}
        self._refused = {node: reason for node, reason in self._refused.items() if node in connected}
        self._asked = {node: when for node, when in self._asked.items() if node in connected}
        self._open = {question: node for question, node in self._open.items() if node in connected}

    def _ask(self, connected: Collection[int]) -> None:
        now, known = time.monotonic(), self._known()
        due = [
            node
            for node in sorted(connected)
            if node not in known and (node not in self._asked or now - self._asked[node] >= ASK_AGAIN_SECONDS)
        ]
        if due:
            self._asked |= dict.fromkeys(due, now)
            self._open |= ask(self._grid, due)

    def _listen(self) -> None:
        """Take in the answers that have come, by node, and refuse those that make no sense."""
        replies = self._grid.pull_messages(list(self._open)) if self._open else ()
        answers = [(self._open.pop(reply.metadata.reply_to_message_id, None), reply) for reply in replies]
        for node, reply in sorted(((n, r) for n, r in answers if n is not None), key=lambda answer: answer[0]):
            if node in self._known():
                continue  # it was asked twice
            try:
                report = report_of(node, reply)
            except NoReportError as error:
                if not error.again:
                    self._refuse(node, str(error))
                continue
            known = 0 <= report.partition < self._clients
            if known and (problem := self._objection(report)):
                self._refuse(node, f"partition {report.partition}: {problem}")
                continue
            self._spare[node] = report
            self._seat()
            if node in self._spare and 0 <= report.partition < self._clients:
                self._notify(f"node {node} refused: partition {report.partition} is taken")

    def _seat(self) -> None:
        """Give the partitions that nobody holds to the nodes that say they hold them."""
        for node, report in list(self._spare.items()):
            if 0 <= report.partition < self._clients and report.partition not in self.reports:
                self.reports[report.partition] = self.heard[report.partition] = self._spare.pop(node)

    def _refuse(self, node: int, reason: str) -> None:
        self._refused[node] = f"node {node} refused: {reason}"
        self._notify(self._refused[node])

    def _known(self) -> set[int]:
        """Return the nodes that have answered."""
        return {report.node_id for report in self.reports.values()} | set(self._spare) | set(self._refused)

    def _shortage(self, missing: Sequence[int]) -> str:
        """Say how many nodes there are, which are missing, and what became of the others."""
        silent = set(self._asked) - self._known()
        idle = [node for node, report in self._spare.items() if not 0 <= report.partition < self._clients]
        parts = [
            f"{len(self.reports)} of {self._clients} clients connected within {self._timeout:g} s "
            f"(federation.node-timeout); missing partitions: {list(missing[:LISTED])}"
        ]
        if silent:
            parts.append(f"{_nodes(len(silent))} did not answer in time")
        if idle:
            parts.append(f"{_nodes(len(idle))} with partitions beyond 0 to {self._clients - 1}")
        if self._refused:
            parts.append(f"{_nodes(len(self._refused))} refused, such as: {next(iter(self._refused.values()))}")
        return "; ".join(parts)


def _partitions(which: Collection[int]) -> str:
    shown = ", ".join(str(partition) for partition in sorted(which)[:LISTED])
    more = f" and {len(which) - LISTED} more" if len(which) > LISTED else ""
    return f"partition{'s' if len(which) > 1 else ''} {shown}{more}"


def _nodes(count: int) -> str:
    return f"{count} node{'s' if count > 1 else ''}"
