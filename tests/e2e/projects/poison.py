"""Two poisoned clients, as a mod, so that the code of a project's clients stays what it was."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable

REVERSED, LATE_NAN = 0, 1
"""The partitions of the two."""


def poison(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Turn one client's update round and enlarge it; send NaN for another one's from its second training on."""
    reply = call_next(message, context)
    partition = context.node_config["partition-id"]
    if partition not in (REVERSED, LATE_NAN) or reply.has_error() or not reply.content.array_records:
        return reply
    [sent] = message.content.array_records.values()
    [(name, trained)] = reply.content.array_records.items()
    times = context.state["trainings"]["times"] if "trainings" in context.state else 0
    context.state["trainings"] = ConfigRecord({"times": times + 1})
    spoiled = {}
    for key, array in trained.items():
        before, after = sent[key].numpy(), array.numpy()
        if partition == REVERSED:
            after = before - 20.0 * (after - before)
        elif times:
            after = np.full_like(after, np.nan)
        spoiled[key] = Array(np.asarray(after, before.dtype))
    reply.content[name] = ArrayRecord(spoiled)
    return reply
