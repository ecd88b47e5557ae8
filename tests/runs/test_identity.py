"""The identity of a run: what decides its numbers, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedsec.runs.config import RunConfig
from fedsec.runs.identity import LATER, identity
from fedsec.runs.loading import parse
from fedsec.runs.record import config_hash
from fedsec.runs.sections import GANS
from fedsec.runs.table import load_table


def changed(section: str, **values: Any) -> RunConfig:
    config = RunConfig()
    return replace(config, **{section: replace(getattr(config, section), **values)})


def test_the_labels_of_an_untargeted_backdoor_tell_runs_apart_and_decide_nothing_else() -> None:
    pairs, anything = (
        identity(parse({"attack": {"kind": "untargeted-backdoor", "labels": labels}})) for labels in ("pairs", "any")
    )
    assert pairs == anything | {"attack.labels": "pairs"}
    assert "attack.labels" not in anything  # a run of before there were pairs has the same numbers
    assert identity(changed("attack", labels="any")) == identity(RunConfig())


def test_identity_leaves_out_what_decides_no_number() -> None:
    assert identity(changed("run", name="other", output="/somewhere")) == identity(RunConfig())
    assert identity(changed("run", seed=1)) != identity(RunConfig())


def test_a_run_of_before_a_key_came_is_the_same_run_at_that_key_s_value() -> None:
    assert not set(LATER) & set(identity(RunConfig()))
    assert identity(changed("data", share=0.5))["data.share"] == 0.5
    assert identity(changed("attack", clients="1"))["attack.clients"] == "1"


@pytest.mark.parametrize("balance", ["none", "cgan", "repeat"])
def test_what_fills_the_classes_decides_numbers_only_where_it_fills(balance: str) -> None:
    given = {"data": {"balance": balance}}
    steps, fill = parse({**given, "gan": {"steps": 7}}), parse({"data": given["data"] | {"fill": "mean"}})
    assert (identity(steps) == identity(parse(given))) == (balance not in GANS)
    assert (identity(fill) == identity(parse(given))) == (balance == "none")


def test_a_key_that_came_later_is_no_part_of_what_a_run_of_before_was() -> None:
    """The hash is that of the version before: a new key must be in LATER, or be left out where it decides nothing."""
    demo = load_table(Path(__file__).parents[2] / "experiments" / "quickstart" / "demo.toml")
    hashes = [config_hash(config) for _, config in demo.runs([0])]
    assert hashes[0] == "0d9df6c18ad7"
