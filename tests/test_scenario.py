"""Server and clients read the same scenario out of the same configuration."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsec import scenario
from fedsec.client_app import build_client
from fedsec.data.datasets import load
from fedsec.data.partition import partition, partition_hash
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse
from fedsec.scenario import (
    attack_rounds,
    can_attack,
    code_hash,
    malicious,
    measured_pairs,
    pair_of,
    partition_settings,
    partitions,
    stamped_by,
    trigger,
    triggered_copies,
)


def configured(**sections: dict[str, Any]) -> RunConfig:
    return parse(sections)


def test_partitions_are_those_of_the_settings(cache: Path) -> None:
    config = configured(data={"partition": "label-skew", "q": 0.5}, federation={"clients": 7}, run={"seed": 3})
    train = load("digits", "train")
    expected = partition(train.labels, 10, partition_settings(config))
    assert partition_hash(partitions(config)) == partition_hash(expected)
    assert sum(len(part) for part in partitions(config)) == 1437


def test_the_seed_of_the_run_decides_the_partitions(cache: Path) -> None:
    hashes = [partition_hash(partitions(configured(run={"seed": seed}))) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_what_does_not_concern_the_data_does_not_deal_it_anew() -> None:
    settings = partition_settings(configured())
    other = configured(attack={"kind": "untargeted"}, federation={"rounds": 20}, defense={"strategy": "krum"})
    assert partition_settings(other) == settings
    changes = {"scheme": "iid", "clients": 20, "q": 0.9, "alpha": 0.1, "share": 0.5}
    changed = configured(data={"partition": "iid", "q": 0.9, "alpha": 0.1, "share": 0.5}, federation={"clients": 20})
    assert partition_settings(changed) == replace(settings, **changes)


def test_a_list_of_partitions_may_be_changed_by_its_caller(cache: Path) -> None:
    partitions(configured()).clear()
    assert len(partitions(configured())) == 10


def test_the_malicious_clients_are_as_many_as_asked_for_and_the_seed_says_which() -> None:
    drawn = [malicious(configured(run={"seed": seed}, attack={"share": 0.4})) for seed in range(5)]
    assert [len(clients) for clients in drawn] == [4] * 5
    assert len(set(drawn)) > 1
    assert malicious(configured(attack={"share": 0.4})) == drawn[0]
    assert all(list(clients) == sorted(set(clients)) for clients in drawn)


def test_every_attack_has_the_same_attackers_and_no_attack_has_none() -> None:
    backdoor, untargeted = (malicious(configured(attack={"kind": kind})) for kind in ("backdoor", "untargeted"))
    assert backdoor == untargeted != ()
    assert malicious(configured(attack={"kind": "none"})) == ()
    assert malicious(configured(attack={"share": 0.0})) == ()


def test_a_backdoor_needs_images_of_the_source_class_and_random_labels_need_none() -> None:
    backdoor = configured(attack={"source": 2, "target": 0})
    assert can_attack(backdoor, 0, [0, 0, 3, 0])
    assert not can_attack(backdoor, 0, [5, 5, 0, 5])
    assert not can_attack(backdoor, 0, [])
    assert can_attack(configured(attack={"kind": "untargeted", "source": 2, "target": 0}), 0, [5, 5, 0, 5])


def test_an_untargeted_backdoor_needs_an_image_of_any_class_and_a_share_that_is_one(cache: Path) -> None:
    config = configured(attack={"kind": "untargeted-backdoor", "labels": "any", "label-share": 0.3})
    assert can_attack(config, 0, [0, 0, 2])
    assert not can_attack(config, 0, [0, 0, 1])


def test_the_copies_that_are_counted_are_those_that_attackers_make(cache: Path) -> None:
    kinds = ("none", "backdoor", "untargeted", "untargeted-backdoor")
    settings = [*itertools.product(kinds, ("pairs", "any"), ("one",)), ("backdoor", "any", "all")]
    for kind, labels, sources in settings:
        named = {"clients": "" if kind == "none" else "0", "sources": sources}
        config = configured(attack={"kind": kind, "labels": labels, "label-share": 0.3} | named)
        client = build_client(config, 0)
        trained = len(client.examples(1)[1]) - len(client.task.labels)
        assert trained == triggered_copies(config, 0, np.bincount(client.task.labels, minlength=10).tolist())


def test_a_backdoor_of_every_class_needs_images_of_other_classes_than_the_target_and_is_measured_so() -> None:
    config = configured(attack={"sources": "all", "target": 2, "label-share": 0.3})
    assert triggered_copies(config, 0, [4, 0, 99, 6]) == 3
    assert can_attack(config, 0, [2, 0, 0])
    assert not can_attack(config, 0, [0, 0, 9])
    assert not can_attack(config, 0, [1, 0, 9])  # 0.3 of one image is none
    assert not can_attack(config, 0, [])
    assert measured_pairs(config, 10) == ((None, 2),)
    assert measured_pairs(configured(attack={"kind": "none", "sources": "all"}), 10) == ((None, 6),)


def test_every_malicious_client_has_a_pair_of_its_own_and_needs_an_image_of_its_source() -> None:
    config = configured(attack={"kind": "untargeted-backdoor"})
    pairs = measured_pairs(config, 10)
    assert pairs == tuple(pair_of(config, client, 10) for client in malicious(config))
    assert len(set(pairs)) > 1
    for client, (source, target) in zip(malicious(config), pairs, strict=True):
        assert source != target
        only = [3 * (label == source) for label in range(10)]
        assert triggered_copies(config, client, only) == 3
        assert not can_attack(config, client, [3 - count for count in only])
        assert not can_attack(config, client, [0] * 10)


def test_pairs_are_evenly_drawn_and_the_seed_decides_them() -> None:
    drawn = [pair_of(configured(attack={"kind": "untargeted-backdoor"}), client, 3) for client in range(6000)]
    counts = np.array(list(Counter(drawn).values()))
    assert len(counts) == 6
    assert np.all(np.abs(counts - 1000) < 5 * np.sqrt(1000))
    other = configured(attack={"kind": "untargeted-backdoor"}, run={"seed": 1})
    assert [pair_of(other, client, 3) for client in range(6000)] != drawn


def test_what_is_measured_with_nobody_attacking_are_the_pairs_of_all_clients() -> None:
    config = configured(attack={"kind": "untargeted-backdoor", "share": 0.0})
    assert measured_pairs(config, 10) == tuple(pair_of(config, client, 10) for client in range(10))
    assert measured_pairs(configured(attack={"kind": "none"}), 10) == ((0, 6),)
    assert measured_pairs(configured(attack={"kind": "untargeted-backdoor", "labels": "any"}), 10) is None


@pytest.mark.parametrize(("start", "end", "expected"), [(9, 0, range(9, 17)), (3, 5, range(3, 6)), (16, 0, [16])])
def test_the_attack_lasts_to_its_last_round_and_zero_is_the_last_of_all(start: int, end: int, expected: range) -> None:
    config = configured(attack={"start-round": start, "end-round": end}, federation={"rounds": 16})
    assert list(attack_rounds(config)) == list(expected)


def test_the_trigger_fits_the_images_and_is_that_of_the_configuration(cache: Path) -> None:
    attack = {"trigger": "patch", "trigger-size": 3, "trigger-corner": "top-left"}
    made = trigger(configured(attack=attack), load("digits", "test").images.shape[1:])
    assert (made.mask.shape, made.pattern.shape) == ((28, 28), (1, 28, 28))
    assert np.argwhere(made.mask).tolist() == [[row, column] for row in (1, 2, 3) for column in (1, 2, 3)]


def test_each_attacker_stamps_its_part_of_a_distributed_trigger_and_the_whole_of_another() -> None:
    shape = (1, 28, 28)
    config = configured(attack={"trigger": "distributed", "clients": "9 2 4 7 5"})
    masks = [stamped_by(config, partition, shape).mask for partition in (2, 4, 5, 7)]
    np.testing.assert_array_equal(np.sum(masks, axis=0), trigger(config, shape).mask)
    np.testing.assert_array_equal(stamped_by(config, 9, shape).mask, masks[0])
    other = configured(attack={"trigger": "blend", "trigger-opacity": 0.3, "clients": "2 4"})
    assert trigger(other, shape).opacity == stamped_by(other, 4, shape).opacity == 0.3
    np.testing.assert_array_equal(stamped_by(other, 4, shape).pattern, trigger(other, shape).pattern)


def test_a_noise_patch_is_the_same_for_everybody_and_the_seed_decides_it(cache: Path) -> None:
    def pattern(seed: int, split: Any) -> np.ndarray:
        config = configured(run={"seed": seed}, attack={"trigger": "noise-patch"})
        return trigger(config, load("digits", split).images.shape[1:]).pattern

    np.testing.assert_array_equal(pattern(0, "train"), pattern(0, "test"))
    assert not np.array_equal(pattern(0, "train"), pattern(1, "train"))


def test_the_hash_of_the_code_changes_with_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario, "__file__", str(tmp_path / "scenario.py"))
    hashes = []
    for name, text in [("scenario.py", "a = 1\n"), ("sub/other.py", "b = 1\n"), ("sub/other.py", "b = 2\n")]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        hashes.append(code_hash.__wrapped__())
    (tmp_path / "notes.txt").write_text("no code")
    assert code_hash.__wrapped__() == hashes[-1]
    assert len(set(hashes)) == 3
    assert code_hash() == code_hash()
