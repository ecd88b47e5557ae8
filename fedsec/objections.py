"""Why a node cannot take part although it has answered: what it holds does not fit the run."""

from functools import lru_cache

import numpy as np

from fedsec.holdings import class_names
from fedsec.nodes import NodeReport
from fedsec.runs.config import RunConfig
from fedsec.scenario import held_out, load, partitions
from fedsec.strategies.wording import shown


def objection(config: RunConfig, report: NodeReport) -> str:
    """Return why the data of a node does not fit, or "".

    Where one data set is dealt out, the server deals its own copy and compares. Where each client has its own, their
    classes must be the server's, in its order: two clients that number them differently would teach each other wrong.

    Args:
        config: the run's configuration.
        report: what the node says of itself; its partition is one of the run's.
    """
    if config.data.partition == "own":
        expected = class_names(config, held_out(config))
        if report.classes and report.classes != expected:
            return (
                f"its classes are {_shown(report.classes)}, the server's {_shown(expected)}; "
                "name all of them, in order, in data.classes"
            )
        return ""
    dealt = _dealt(config)[report.partition]
    if report.class_counts and report.class_counts != dealt:
        return (
            f"its copy of the data set is another: it counts {_shown(report.class_counts)} examples of each class, "
            f"the server's copy gives it {_shown(dealt)}"
        )
    return ""


@lru_cache(maxsize=4)
def _dealt(config: RunConfig) -> list[tuple[int, ...]]:
    train = load(config, "train")
    return [
        tuple(np.bincount(train.labels[held], minlength=len(train.classes)).tolist()) for held in partitions(config)
    ]


def _shown(items: tuple[object, ...]) -> str:
    text = ", ".join(shown(str(item)) for item in items[:20])
    return f"[{text}{', ...' if len(items) > 20 else ''}]"
