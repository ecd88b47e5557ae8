"""Where data sets are looked for, and what is said of one that cannot be had."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest

from fedsec.data.datasets import load
from fedsec.data.sources import KNOWN_DATASETS, DataError, find_source, read_split
from tests.data.folders import pictures, write_both, write_parquet, write_pngs

GREY = pictures(6, 8, 8)
LABELS = [0, 1, 2, 0, 1, 2]


def two_image_columns(folder: Path) -> None:
    one = datasets.load_dataset(str(write_both(folder.with_name("one"), GREY, LABELS)))
    folder.mkdir()
    for split, examples in one.items():
        other = examples.rename_column("image", "other").remove_columns("label")
        datasets.concatenate_datasets([examples, other], axis=1).to_parquet(folder / f"{split}.parquet")


def no_label_column(folder: Path) -> None:
    one = datasets.load_dataset(str(write_both(folder.with_name("one"), GREY, LABELS)))
    folder.mkdir()
    for split, examples in one.items():
        examples.remove_columns("label").to_parquet(folder / f"{split}.parquet")


def no_test_split(folder: Path) -> None:
    write_parquet(folder, "train", GREY, LABELS)


def several_sizes(folder: Path) -> None:
    write_both(folder, [*pictures(2, 8, 8), *pictures(1, 9, 8)], [0, 1, 2])


def grey_and_colour(folder: Path) -> None:
    write_both(folder, [*pictures(2, 8, 8), *pictures(1, 8, 8, 3)], [0, 1, 2])


def unlabelled(folder: Path) -> None:
    write_both(folder, GREY, [0, 1, -1, 0, 1, 2])


def no_files(folder: Path) -> None:
    folder.mkdir()


REFUSED = {
    two_image_columns: "must have one image and one label column; found images ['image', 'other']",
    no_label_column: "must have one image and one label column; found images ['image'] and labels []",
    no_test_split: "has no 'test' split; found ['train']",
    several_sizes: "must have one size; image 2 of train is (9, 8, 1), the first is (8, 8, 1)",
    grey_and_colour: "must have one size; image 2 of train is (8, 8, 3), the first is (8, 8, 1)",
    unlabelled: "has unlabelled examples (label -1) in train",
    no_files: "nothing in it, or one folder deeper, is named train or test",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_folder_that_cannot_be_used_is_one_error_with_key_name_and_reason(
    sets: Path, make: Callable[[Path], None]
) -> None:
    make(sets / "animals")
    with pytest.raises(DataError) as refusal:
        load(str(sets / "animals"), "test")
    message = str(refusal.value)
    assert message.startswith("data.dataset: ")
    assert repr(str(sets / "animals")) in message
    assert REFUSED[make] in message
    assert "\n" not in message


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_the_error_says_where_a_set_that_was_asked_for_by_name_lies(
    sets: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    make(sets / "animals")
    with pytest.raises(DataError) as refusal:
        load("animals", "test")
    assert str(sets / "animals") in str(refusal.value)


def test_an_existing_folder_without_data_is_not_called_missing(sets: Path) -> None:
    no_files(sets / "animals")
    with pytest.raises(DataError) as refusal:
        load(str(sets / "animals"), "train")
    assert "no such folder" not in str(refusal.value)


def test_nothing_is_left_in_the_cache_by_a_set_that_is_refused(sets: Path) -> None:
    several_sizes(sets / "animals")
    with pytest.raises(DataError):
        load(str(sets / "animals"), "train")
    assert [path for path in (sets.parent / "cache").iterdir() if path.is_dir()] == []


def test_an_unknown_name_says_what_was_looked_for_where_and_what_would_do(
    sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="FEDSEC_DATA is not set"):
        find_source("animals")
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    with pytest.raises(DataError) as refusal:
        find_source("animals")
    message = str(refusal.value)
    assert message.startswith("data.dataset: found 'animals'; no such folder: ")
    assert str(sets / "animals") in message
    assert all(word in message for word in ("Give a folder", "hub (owner/name)", *KNOWN_DATASETS))


def test_a_missing_folder_is_named(sets: Path) -> None:
    with pytest.raises(DataError, match="no such folder: ") as refusal:
        load(str(sets / "nowhere"), "train")
    assert str(sets / "nowhere") in str(refusal.value)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "dermamnist"])
def test_a_known_set_that_cannot_be_had_says_how_to_provide_it(sets: Path, name: str) -> None:
    with pytest.raises(DataError) as refusal:
        load(name, "train")
    message = str(refusal.value)
    assert message.startswith("data.dataset: ")
    assert f"Set FEDSEC_DATA to a folder that holds {name}/" in message
    hub = KNOWN_DATASETS[name].hub
    command = f'hf download {hub} --repo-type dataset --local-dir "$FEDSEC_DATA/{name}"'
    assert command in message if hub else "part of MedMNIST v2" in message


def test_the_command_that_downloads_is_one_that_the_hub_s_own_tool_has() -> None:
    pytest.importorskip("huggingface_hub.cli.hf")  # older versions call it otherwise
    code = "import sys; from huggingface_hub.cli.hf import main; sys.argv = ['hf', 'download', '--help']; main()"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert all(option in shown.stdout for option in ("REPO_ID", "--repo-type", "--local-dir", "dataset"))


@pytest.mark.parametrize("name", ["", " ", "a\0b", "x" * 300, "x" * 5000, "~nobody-has-this-name", "mnist/..", "a/b/c"])
def test_a_name_that_names_nothing_is_one_short_line(sets: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    with pytest.raises(DataError, match=r"^data\.dataset: found ") as refusal:
        find_source(name)
    assert str(refusal.value).isprintable()
    assert "Give a folder, an id on the hub (owner/name), or one of digits" in str(refusal.value)
    assert len(str(refusal.value)) < 1200


@pytest.mark.parametrize("name", ["~", "~/..", "/", "{sets}", "{sets}/.."])
def test_homes_and_the_folder_of_all_sets_are_no_data_set(
    sets: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walked(folder: Path, pattern: str) -> None:
        raise AssertionError(f"{folder} was walked")

    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    monkeypatch.setattr(Path, "rglob", walked)
    write_both(sets / "animals", GREY, LABELS)
    with pytest.raises(DataError, match="or one above it"):
        find_source(name.format(sets=sets))


def test_a_card_of_the_hub_may_name_the_files_as_it_likes(sets: Path) -> None:
    write_both(sets / "animals", GREY, LABELS)
    for split in ("train", "test"):
        (sets / "animals" / f"{split}.parquet").rename(sets / "animals" / f"{split[1:]}.parquet")
    with pytest.raises(DataError, match="is named train or test"):
        load(str(sets / "animals"), "train")
    files = "".join(f"  - split: {split}\n    path: {split[1:]}.parquet\n" for split in ("train", "test"))
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
    (sets / "animals" / "README.md").write_text(card)
    assert len(load(str(sets / "animals"), "test")) == 6


def test_a_hub_id_that_cannot_be_reached_is_one_error(sets: Path) -> None:
    with pytest.raises(DataError, match="'owner/animals' could not be loaded"):
        load("owner/animals", "train")


def test_the_first_folder_looked_in_is_that_of_fedsec_data(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_DATA", str(sets))
    write_both(sets / "mnist", GREY, LABELS)
    assert find_source("mnist").location == str(sets / "mnist")
    monkeypatch.delenv("FEDSEC_DATA")
    assert find_source("mnist").location == "ylecun/mnist"


def test_identity_changes_with_the_files(sets: Path) -> None:
    write_both(sets / "animals", GREY, LABELS)
    before = find_source(str(sets / "animals"))
    assert find_source(str(sets / "animals")) == before
    write_parquet(sets / "animals", "test", GREY[:3], LABELS[:3])
    assert find_source(str(sets / "animals")).identity != before.identity


def test_a_split_is_its_length_and_its_examples_in_order(sets: Path) -> None:
    write_both(sets / "animals", GREY, LABELS)
    count, pairs = read_split(find_source(str(sets / "animals")), "test")
    images, labels = zip(*pairs, strict=True)
    assert (count, list(labels)) == (6, LABELS)
    np.testing.assert_array_equal(np.stack(images), GREY[:, :, :, None])


def test_known_sets_have_as_many_means_as_deviations() -> None:
    assert all(len(known.mean) == len(known.std) > 0 for known in KNOWN_DATASETS.values())


def words_as_labels(folder: Path) -> None:
    write_both(folder, GREY, ["cat", "dog", "cat", "dog", "cat", "dog"], label=datasets.Value("string"))


def a_label_missing(folder: Path) -> None:
    write_both(folder, GREY, [0, 1, None, 0, 1, 2], label=datasets.Value("int64"))


def an_image_missing(folder: Path) -> None:
    write_both(folder, GREY, LABELS)
    for path in folder.glob("*.parquet"):
        table = pyarrow.parquet.read_table(path)
        images = table["image"].to_pylist()
        column = pyarrow.array([*images[:-1], None], table["image"].type)
        pyarrow.parquet.write_table(table.set_column(0, table.field(0), column), path)


def an_image_damaged(folder: Path) -> None:
    for split in ("train", "test"):
        write_pngs(folder, split, GREY, ["cat", "dog"] * 3)
    (folder / "train" / "cat" / "000.png").write_bytes(b"no image")


def an_empty_split(folder: Path) -> None:
    write_both(folder, GREY, LABELS)
    table = pyarrow.parquet.read_table(folder / "test.parquet")
    pyarrow.parquet.write_table(table.slice(0, 0), folder / "test.parquet")


@pytest.mark.parametrize(
    "make",
    [words_as_labels, a_label_missing, an_image_missing, an_image_damaged, an_empty_split],
    ids=lambda make: make.__name__,
)
def test_examples_that_cannot_be_read_are_a_data_error_too(sets: Path, make: Callable[[Path], None]) -> None:
    make(sets / "animals")
    with pytest.raises(DataError, match=r"^data\.dataset: "):
        load(str(sets / "animals"), "train")


def test_images_of_sixteen_bits_keep_their_greys(sets: Path) -> None:
    deep = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    for split in ("train", "test"):
        write_pngs(sets / "animals", split, [deep, deep], ["cat", "dog"])
    images = load(str(sets / "animals"), "train").images
    np.testing.assert_allclose(images[0, 0], deep / 257.0, atol=1)
