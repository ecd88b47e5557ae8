"""Data sets are decoded once, whole or not at all, into bytes that nobody can change."""

import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest

from fedsec.data import sources
from fedsec.data.datasets import cache_folder, load
from fedsec.data.sources import DataError
from tests.data import workers
from tests.data.folders import ANIMALS, pictures, write_both, write_parquet, write_pngs

SPAWN = multiprocessing.get_context("spawn")


def decoded_folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir() and not path.name.startswith(".")]


def test_the_digits_are_there_without_any_files(cache: Path) -> None:
    train, test = load("digits", "train"), load("digits", "test")
    assert (train.images.shape, test.images.shape) == ((1437, 1, 28, 28), (360, 1, 28, 28))
    assert (len(train), len(test)) == (1437, 360)
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int64)
    assert train.classes == test.classes == tuple("0123456789")
    assert set(train.labels) == set(test.labels) == set(range(10))
    assert np.bincount(test.labels).min() >= 34
    assert (train.images.min(), train.images.max()) == (0, 255)


def test_the_known_mean_and_deviation_of_the_digits_are_their_own(cache: Path) -> None:
    train = load("digits", "train")
    pixels = train.images / 255.0
    assert train.mean == pytest.approx([pixels.mean()], abs=5e-4)
    assert train.std == pytest.approx([pixels.std()], abs=5e-4)


@pytest.mark.parametrize("shape", [(8, 8), (8, 10, 3)], ids=["grey", "colour"])
def test_a_folder_of_parquet_files_loads_by_name_and_by_path(
    sets: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(9, *shape)
    write_parquet(sets / "animals", "train", images, [2, 1, 0] * 3)
    write_parquet(sets / "animals", "test", images[:4], [0, 0, 1, 2])
    by_path = load(str(sets / "animals"), "train")
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    by_name, test = load("animals", "train"), load("animals", "test")
    expected = images.reshape(9, *shape[:2], -1).transpose(0, 3, 1, 2)
    for train in (by_path, by_name):
        np.testing.assert_array_equal(train.images, expected)
        np.testing.assert_array_equal(train.labels, [2, 1, 0] * 3)
        assert train.classes == ANIMALS
    assert by_path.folder == by_name.folder
    np.testing.assert_array_equal(test.images, expected[:4])
    np.testing.assert_allclose(by_name.mean, expected.mean((0, 2, 3)) / 255, rtol=1e-9)
    np.testing.assert_allclose(by_name.std, expected.std((0, 2, 3)) / 255, rtol=1e-9)


@pytest.mark.parametrize("shape", [(8, 8), (10, 8, 3)], ids=["grey", "colour"])
def test_a_folder_of_images_loads_by_name_and_by_path(
    sets: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(6, *shape)
    write_pngs(sets / "animals", "train", images, ["cat", "cat", "dog", "dog", "emu", "emu"])
    write_pngs(sets / "animals", "test", images[:2], ["dog", "emu"])
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    for name in ("animals", str(sets / "animals")):
        train, test = load(name, "train"), load(name, "test")
        expected = images.reshape(6, *shape[:2], -1).transpose(0, 3, 1, 2)
        assert train.classes == test.classes == ANIMALS
        np.testing.assert_array_equal(train.images[np.argsort(train.labels, kind="stable")], expected)
        np.testing.assert_array_equal(np.sort(train.labels), [0, 0, 1, 1, 2, 2])
        np.testing.assert_array_equal(np.sort(test.labels), [1, 2])


def test_a_label_column_without_names_counts_its_classes(sets: Path) -> None:
    write_both(sets / "animals", pictures(3, 8, 8), [0, 4, 1], label=datasets.Value("int64"))
    assert load(str(sets / "animals"), "train").classes == ("0", "1", "2", "3", "4")


def test_a_channel_that_never_changes_has_deviation_one(sets: Path) -> None:
    write_both(sets / "animals", np.full((3, 8, 8), 51, np.uint8), [0, 1, 2])
    train = load(str(sets / "animals"), "train")
    assert train.mean == pytest.approx((0.2,))
    assert train.std == (1.0,)


def test_a_known_set_has_its_own_column_names(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    write_both(sets / "cifar10", pictures(3, 8, 8, 3), [0, 1, 2], names=("img", "label"))
    assert load("cifar10", "train").images.shape == (3, 3, 8, 8)


def test_a_known_name_with_other_channels_has_a_mean_for_each_channel(
    sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    write_both(sets / "cifar10", pictures(3, 8, 8), [0, 1, 2])
    train = load("cifar10", "train")
    assert len(train.mean) == len(train.std) == train.images.shape[1] == 1


def rewritten(folder: Path, **changes: object) -> None:
    about = json.loads((folder / "about.json").read_text()) | changes
    (folder / "about.json").write_text(json.dumps({key: value for key, value in about.items() if value is not None}))
    load.cache_clear()


def test_the_cache_keeps_what_was_measured_and_known_statistics_are_applied_to_a_cache_of_any_age(
    sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = load("digits", "train")
    kept = json.loads((train.folder / "about.json").read_text())
    assert kept["mean"] == pytest.approx([(train.images / 255.0).mean()], abs=1e-9)
    assert (train.mean, train.std) == ((0.3056,), (0.3247,))
    rewritten(train.folder, mean=[0.3], std=[0.3], statistics=None)
    assert (load("digits", "train").mean, load("digits", "train").std) == ((0.3056,), (0.3247,))
    changed = replace(sources.KNOWN_DATASETS["digits"], mean=(0.5,), std=(0.25,))
    monkeypatch.setitem(sources.KNOWN_DATASETS, "digits", changed)
    load.cache_clear()
    assert (load("digits", "train").mean, load("digits", "train").std) == ((0.5,), (0.25,))


def test_an_older_cache_whose_statistics_may_be_those_of_a_known_set_is_measured(sets: Path) -> None:
    write_both(sets / "animals", pictures(5, 8, 8, 3), [0, 1, 2, 0, 1])
    fresh = load(str(sets / "animals"), "train")
    rewritten(fresh.folder, mean=[0.1] * 3, std=[0.2] * 3, statistics=None)
    again = load(str(sets / "animals"), "train")
    assert (again.mean, again.std) == (fresh.mean, fresh.std)


def test_a_known_set_has_the_same_statistics_whichever_name_decoded_it_first(
    sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_both(sets / "mnist", pictures(3, 8, 8), [0, 1, 2])
    by_path = load(str(sets / "mnist"), "train")
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    by_name = load("mnist", "train")
    assert by_name.folder == by_path.folder
    assert (by_name.mean, by_name.std) == ((0.1307,), (0.3081,)) != (by_path.mean, by_path.std)


@pytest.mark.parametrize("shape", [(20, 20), (28, 28, 3)], ids=["another size", "colours"])
def test_splits_whose_images_differ_in_shape_are_refused(sets: Path, shape: tuple[int, ...]) -> None:
    write_parquet(sets / "animals", "train", pictures(3, 28, 28), [0, 1, 2])
    write_parquet(sets / "animals", "test", pictures(3, *shape), [0, 1, 2])
    found = (*shape, 1)[:3]
    with pytest.raises(DataError) as refusal:
        load(str(sets / "animals"), "train")
    assert f"train has (28, 28, 1), test has {found} (height, width, channels)" in str(refusal.value)
    assert decoded_folders(sets.parent / "cache") == []


def test_arrays_are_memory_mapped_and_read_only(cache: Path) -> None:
    train = load("digits", "train")
    for array in (train.images, train.labels):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_changed_folder_is_decoded_anew(sets: Path) -> None:
    write_both(sets / "animals", pictures(3, 8, 8), [0, 1, 2])
    before = load(str(sets / "animals"), "train")
    write_parquet(sets / "animals", "train", pictures(4, 8, 8, seed=1), [0, 1, 2, 2])
    load.cache_clear()
    after = load(str(sets / "animals"), "train")
    assert (len(before), len(after)) == (3, 4)
    assert before.folder != after.folder


def test_a_second_load_decodes_nothing(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("digits", "train")
    load.cache_clear()
    monkeypatch.setattr("fedsec.data.datasets.read_split", None)
    np.testing.assert_array_equal(load("digits", "train").images, first.images)


def test_processes_that_ask_at_once_get_the_same_bytes_and_one_decodes(sets: Path, tmp_path: Path) -> None:
    barrier, answers = SPAWN.Barrier(10), SPAWN.Queue()
    arguments = (barrier, answers, tmp_path / "calls")
    processes = [SPAWN.Process(target=workers.load_together, args=arguments) for _ in range(10)]
    for process in processes:
        process.start()
    digests = {answers.get(timeout=120) for _ in processes}
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 10
    assert len(digests) == 1
    decoders = (tmp_path / "calls").read_text().split()
    assert len(decoders) == 2  # the two splits
    assert len(set(decoders)) == 1


def test_a_process_that_is_killed_while_decoding_leaves_nothing_under_the_final_name(
    sets: Path, tmp_path: Path
) -> None:
    process = SPAWN.Process(target=workers.load_and_get_stuck, args=(tmp_path / "begun",))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.join(60)
    assert (tmp_path / "begun").exists()
    assert decoded_folders(tmp_path / "cache") == []
    assert len(load("digits", "train")) == 1437
    assert len(decoded_folders(tmp_path / "cache")) == 1


def cut_images(folder: Path) -> None:
    path = folder / "train_images.npy"
    path.write_bytes(path.read_bytes()[:1000])


def empty_images(folder: Path) -> None:
    (folder / "train_images.npy").write_bytes(b"")


def other_bytes(folder: Path) -> None:
    (folder / "train_images.npy").write_bytes(b"other bytes" * 100)


def no_labels(folder: Path) -> None:
    (folder / "train_labels.npy").unlink()


def fewer_labels(folder: Path) -> None:
    np.save(folder / "train_labels.npy", np.zeros(5, np.int64))


def no_json(folder: Path) -> None:
    (folder / "about.json").write_text("{")


def keys_missing(folder: Path) -> None:
    (folder / "about.json").write_text(json.dumps({"classes": []}))


@pytest.mark.parametrize(
    "damage",
    [cut_images, empty_images, other_bytes, no_labels, fewer_labels, no_json, keys_missing],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_cache_is_an_error_that_names_the_folder_to_delete(
    sets: Path, damage: Callable[[Path], None]
) -> None:
    folder = load("digits", "train").folder
    load.cache_clear()
    damage(folder)
    with pytest.raises(DataError) as refusal:
        load("digits", "train")
    assert "'digits' is damaged" in str(refusal.value)
    assert str(refusal.value).endswith(f"delete {folder}")


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDSEC_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("FEDSEC_CACHE")
    assert cache_folder() == tmp_path / "user" / "fedsec"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "fedsec"


def test_other_users_may_read_the_cache(sets: Path) -> None:
    folder = load("digits", "train").folder
    assert folder.stat().st_mode & 0o055 == 0o055
