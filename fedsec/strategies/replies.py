"""Reading the messages of Flower's Message API without trusting them."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from flwr.app import Message, MetricRecord, RecordDict

from fedsec.strategies.intake import Dropped, Reply, checked_examples, is_finite_number
from fedsec.strategies.layout import BadReplyError

HIGHEST_EXAMPLES = 10**9


def reply_from_message(message: Message, weighted_by_key: str, loss_key: str = "loss") -> Reply | Dropped:
    """Return what a training message holds, unchecked, or why it holds nothing of use."""
    node_id = message.metadata.src_node_id
    if message.has_error():
        return Dropped(node_id, f"error {message.error.code}: {last_line(message.error.reason)}")
    content = message.content
    if len(content.array_records) != 1 or len(content.metric_records) != 1:
        return Dropped(
            node_id,
            f"holds {len(content.array_records)} array and {len(content.metric_records)} metric records; "
            "expected one of each",
        )
    arrays = next(iter(content.array_records.values()))
    metrics = next(iter(content.metric_records.values()))
    if weighted_by_key not in metrics:
        return Dropped(node_id, f"its metrics have no '{weighted_by_key}'")
    return Reply(
        node_id,
        lambda: {key: array.numpy() for key, array in arrays.items()},
        metrics[weighted_by_key],
        metrics.get(loss_key),
    )


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
        except BadReplyError as error:
            dropped.append(Dropped(node_id, str(error)))
    return contents, dropped


def mean_of_common_metrics(contents: list[RecordDict], weighted_by_key: str) -> MetricRecord:
    """Return the plain mean of every scalar metric that all clients report with a finite value.

    The number of examples is a claim, so it weighs nothing; pass Flower's ``aggregate_metricrecords`` as
    ``train_metrics_aggr_fn`` for a mean weighted by it.
    """
    records = [next(iter(content.metric_records.values())) for content in contents]
    return MetricRecord({**mean_of_common([dict(record) for record in records], weighted_by_key)})


def mean_of_common(metrics: Sequence[Mapping[str, object]], left_out: str = "") -> dict[str, float]:
    """Return the plain mean of every value that all clients report as a finite number, but the one ``left_out``."""
    means = {}
    for key in metrics[0] if metrics else ():
        numbers = [float(value) for of_one in metrics if is_finite_number(value := of_one.get(key))]
        if key != left_out and len(numbers) == len(metrics):
            means[key] = math.fsum(number / len(numbers) for number in numbers)  # a sum of claims may overflow
    return means


def _checked_evaluation(message: Message, weighted_by_key: str) -> RecordDict:
    if message.has_error():
        raise BadReplyError(f"error {message.error.code}: {last_line(message.error.reason)}")
    records = list(message.content.metric_records.values())
    if len(records) != 1:
        raise BadReplyError(f"holds {len(records)} metric records; expected one")
    checked_examples(records[0].get(weighted_by_key), HIGHEST_EXAMPLES)
    for key, value in records[0].items():
        numbers = value if isinstance(value, list) else [value]
        if not all(is_finite_number(number) for number in numbers):
            raise BadReplyError(f"metric '{key}' holds NaN, infinity or no number")
    return message.content


def last_line(reason: str | None) -> str:
    """Return the last line of a reason, which is where a traceback names the error."""
    lines = (reason or "no reason given").strip().splitlines()
    return lines[-1][:300] if lines else "no reason given"
