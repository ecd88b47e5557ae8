"""Reading the messages of Flower's Message API without trusting them."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from fedsec.refusal import refusal
from fedsec.strategies.decoding import decode_arrays
from fedsec.strategies.intake import Dropped, Reply, checked_examples, is_finite_number, reason_of
from fedsec.strategies.layout import Arrays, BadReplyError
from fedsec.strategies.wording import shown

HIGHEST_EXAMPLES = 10**9

MOST_METRICS = 100
"""Metrics of clients that a round's record takes at most. Those that all clients report share a client's names."""

LONGEST_LINE, FURTHEST_BACK = 300, 10_000


def reply_from_message(message: Message, weighted_by_key: str, sent: Arrays, loss_key: str = "loss") -> Reply | Dropped:
    """Return what a training message holds, unchecked, or why it holds nothing of use.

    Args:
        message: from a client.
        weighted_by_key: the metric that says on how many examples the client trained.
        sent: the arrays that the client was sent, which its own must match in name, dtype and shape.
        loss_key: the metric that says what its loss is.
    """
    node_id = message.metadata.src_node_id
    try:
        if message.has_error():
            return Dropped(node_id, error_of(message))
        arrays, metrics = _records_of(message, weighted_by_key)
    except Exception as error:  # a client may send anything
        return Dropped(node_id, reason_of(error))
    return Reply(node_id, lambda: decode_arrays(arrays, sent), metrics[weighted_by_key], metrics.get(loss_key))


def error_of(message: Message) -> str:
    """Return what an error message says, in one line."""
    return refusal(message) or f"error {message.error.code}: {last_line(message.error.reason)}"


def usable_evaluations(
    replies: Iterable[Message], weighted_by_key: str, asked: Collection[int]
) -> tuple[list[RecordDict], list[Dropped]]:
    """Split evaluation replies into the contents of the usable ones and those left out, with the reason."""
    contents: list[RecordDict] = []
    dropped: list[Dropped] = []
    seen: set[int] = set()
    for message in sorted(replies, key=lambda message: message.metadata.src_node_id):
        node_id = message.metadata.src_node_id
        try:
            if node_id not in asked:
                raise BadReplyError("was not asked")
            if node_id in seen:
                raise BadReplyError("a second reply from the same node")
            seen.add(node_id)
            contents.append(_checked_evaluation(message, weighted_by_key))
        except Exception as error:  # a client may send anything
            dropped.append(Dropped(node_id, reason_of(error)))
    return contents, dropped


def mean_of_common_metrics(contents: list[RecordDict], weighted_by_key: str) -> MetricRecord:
    """Return the plain mean of every scalar metric that all clients report with a finite value.

    The number of examples is a claim, so it weighs nothing; pass Flower's ``aggregate_metricrecords`` as
    ``train_metrics_aggr_fn`` for a mean weighted by it.
    """
    records: list[Mapping[str, object]] = [next(iter(content.metric_records.values())) for content in contents]
    return MetricRecord({**mean_of_common(records, weighted_by_key)})


def mean_of_common(metrics: Sequence[Mapping[str, object]], left_out: str = "") -> dict[str, float]:
    """Return the plain mean of every value that all clients report as a finite number, but the one ``left_out``.

    At most ``MOST_METRICS`` of them, and none with a name that does not print or is longer than ``LONGEST_NAME``.
    A client that reports a million metrics costs nothing: those of the client with the fewest are looked for.
    """
    means: dict[str, float] = {}
    for key in min(metrics, key=len, default=()):
        numbers = [float(value) for of_one in metrics if is_finite_number(value := of_one.get(key))]
        if key != left_out and len(numbers) == len(metrics) and shown(key) == key:
            means[key] = math.fsum(number / len(numbers) for number in numbers)  # a sum of claims may overflow
        if len(means) == MOST_METRICS:
            break
    return means


def _records_of(message: Message, weighted_by_key: str) -> tuple[ArrayRecord, MetricRecord]:
    arrays = list(message.content.array_records.values())
    metrics = list(message.content.metric_records.values())
    if len(arrays) != 1 or len(metrics) != 1:
        raise BadReplyError(f"holds {len(arrays)} array and {len(metrics)} metric records; expected one of each")
    if weighted_by_key not in metrics[0]:
        raise BadReplyError(f"its metrics have no '{weighted_by_key}'")
    return arrays[0], metrics[0]


def _checked_evaluation(message: Message, weighted_by_key: str) -> RecordDict:
    if message.has_error():
        raise BadReplyError(error_of(message))
    records = list(message.content.metric_records.values())
    if len(records) != 1:
        raise BadReplyError(f"holds {len(records)} metric records; expected one")
    checked_examples(records[0].get(weighted_by_key), HIGHEST_EXAMPLES)
    for key, value in records[0].items():
        numbers = value if isinstance(value, list) else [value]
        if not all(is_finite_number(number) for number in numbers):
            raise BadReplyError(f"metric '{shown(key)}' holds NaN, infinity or no number")
    return message.content


def last_line(reason: str | None) -> str:
    """Return the last line of a reason, which is where a traceback names the error."""
    lines = (reason or "")[-FURTHEST_BACK:].strip().splitlines()
    return shown(lines[-1], LONGEST_LINE) if lines else "no reason given"
