"""What a client holds: a part of one data set, or a data set of its own."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from fedsec.data.datasets import load
from fedsec.data.sources import DataError
from fedsec.holdings import class_names, holding, statistics
from fedsec.nodes import NodeReport
from fedsec.objections import objection
from fedsec.runs.config import RunConfig
from fedsec.runs.loading import parse
from fedsec.scenario import partitions
from tests.data.folders import pictures, write_both, write_parquet, write_pngs

GREY = pictures(6, 16, 16)
CLASSES = ["cat", "dog", "emu", "cat", "dog", "emu"]
LABELS = [0, 1, 2, 0, 1, 2]


def own(server: Path, **data: Any) -> RunConfig:
    return parse({"data": {"dataset": str(server), "partition": "own", **data}, "federation": {"clients": 2}})


@pytest.fixture
def server(tmp_path: Path) -> Path:
    return write_both(tmp_path / "server", GREY, LABELS)


def test_a_part_of_one_data_set_is_what_the_partition_says(cache: Path) -> None:
    config, train = parse({"federation": {"clients": 4}}), load("digits", "train")
    held, mine = holding(config, 2), partitions(config)[2]
    np.testing.assert_array_equal(held.images, train.images[mine])
    np.testing.assert_array_equal(held.labels, train.labels[mine])
    assert held.class_counts == tuple(np.bincount(train.labels[mine], minlength=10))


def test_a_copy_in_a_nodes_folder_is_dealt_out_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_both(tmp_path / "sets" / "animals", pictures(40, 16, 16), [0, 1, 2, 1] * 10)
    monkeypatch.setenv("FEDSEC_DATA", str(tmp_path / "sets"))
    tables: dict[str, Any] = {"data": {"dataset": "animals", "partition": "iid"}, "federation": {"clients": 4}}
    config = parse(tables)
    here = holding(config, 1)
    for folder in ("sets", "sets/animals"):  # the folder of all data sets, or the data set itself
        there = holding(config, 1, str(tmp_path / folder))
        np.testing.assert_array_equal(here.images, there.images)
        np.testing.assert_array_equal(here.labels, there.labels)


def test_a_client_with_data_of_its_own_needs_no_test_images(server: Path, tmp_path: Path) -> None:
    mine = write_parquet(tmp_path / "mine", "train", GREY[:4], LABELS[:4])
    held = holding(own(server), 0, str(mine))
    np.testing.assert_array_equal(held.images, GREY[:4, None])
    assert held.class_counts == (2, 1, 1)
    assert held.classes == ("cat", "dog", "emu")


def test_a_simulation_finds_each_clients_folder_by_its_partition(server: Path, tmp_path: Path) -> None:
    for partition in (0, 1):
        write_parquet(tmp_path / f"client-{partition}", "train", GREY[partition : partition + 2], LABELS[:2])
    config = own(server, folders=str(tmp_path / "client-{partition}"))
    for partition in (0, 1):
        np.testing.assert_array_equal(holding(config, partition).images, GREY[partition : partition + 2, None])


def test_without_a_folder_the_error_says_where_to_name_one(server: Path) -> None:
    with pytest.raises(DataError, match=r"data\.folders: not given.*node's configuration"):
        holding(own(server), 0)
    with pytest.raises(DataError, match=r"data: found '/no/where', and there is no such folder"):
        holding(own(server), 0, "/no/where")


def test_a_folder_that_lacks_a_class_is_numbered_by_the_federations_names(server: Path, tmp_path: Path) -> None:
    mine = write_pngs(tmp_path / "mine", "train", GREY[:2], ["dog", "emu"])
    held = holding(own(server, classes="cat, dog, emu"), 0, str(mine))
    assert held.labels.tolist() == [1, 2]
    assert held.class_counts == (0, 1, 1)


@pytest.mark.parametrize("below", ["mine/train", "mine"])
def test_a_folder_of_pictures_may_have_one_class_alone(server: Path, tmp_path: Path, below: str) -> None:
    folder = tmp_path / below
    write_pngs(folder.parent, folder.name, GREY[:2], ["emu", "emu"])
    held = holding(own(server, classes="cat, dog, emu"), 0, str(tmp_path / "mine"))
    assert held.class_counts == (0, 0, 2)


@pytest.mark.parametrize("below", ["mine/train", "mine"])
def test_pictures_that_lie_in_no_folder_of_a_class_are_refused(server: Path, tmp_path: Path, below: str) -> None:
    folder = tmp_path / below
    write_pngs(folder.parent.parent, folder.parent.name, GREY[:2], [folder.name] * 2)
    with pytest.raises(DataError, match=r"must have one image and one label column; found .* labels \[\]"):
        holding(own(server, classes="cat, dog, emu"), 0, str(tmp_path / "mine"))


def test_numbers_without_names_are_the_federations_numbers(server: Path, tmp_path: Path) -> None:
    mine = write_parquet(tmp_path / "mine", "train", GREY[:2], [0, 2], label=datasets.Value("int64"))
    assert holding(own(server, classes="cat,dog,emu"), 0, str(mine)).labels.tolist() == [0, 2]


def test_a_class_that_the_federation_does_not_have_is_an_error(server: Path, tmp_path: Path) -> None:
    mine = write_pngs(tmp_path / "mine", "train", GREY[:2], ["dog", "yak"])
    with pytest.raises(DataError, match=r"data\.classes: .* has \['yak'\]; expected \['cat', 'dog', 'emu'\]"):
        holding(own(server, classes="cat,dog,emu"), 0, str(mine))


def test_clients_with_data_of_their_own_normalise_alike(server: Path, tmp_path: Path) -> None:
    mine = write_parquet(tmp_path / "mine", "train", GREY[:2] // 4, LABELS[:2])
    config = own(server)
    held = holding(config, 0, str(mine))
    assert statistics(config, held.dataset) == statistics(config, load(str(server), "test")) == ((0.5,), (0.5,))


def test_classes_in_another_order_are_an_objection(server: Path) -> None:
    config = own(server)
    assert class_names(config, load(str(server), "test")) == ("cat", "dog", "emu")
    assert objection(config, NodeReport(7, 0, (1, 1, 1), ("cat", "dog", "emu"))) == ""
    found = objection(config, NodeReport(7, 0, (1, 1), ("dog", "emu")))
    assert found == (
        "its classes are [dog, emu], the server's [cat, dog, emu]; name all of them, in order, in data.classes"
    )


def test_a_class_s_name_cannot_forge_a_line_of_the_log(server: Path) -> None:
    found = objection(own(server), NodeReport(7, 0, (1,), ("cat\nall is well",)))
    assert "cat\\nall is well" in found
    assert "\n" not in found


def test_another_copy_of_the_data_set_is_an_objection(cache: Path) -> None:
    config = parse({"federation": {"clients": 4}})
    counts = holding(config, 3).class_counts
    assert objection(config, NodeReport(7, 3, counts)) == ""
    assert "its copy of the data set is another" in objection(config, NodeReport(7, 3, (counts[0] + 1, *counts[1:])))
