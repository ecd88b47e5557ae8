"""A file of arrays is what was written, or an error."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.tensors import DamagedError, read_tensors, write_tensors

ARRAYS = {"z": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(3), "empty": np.empty((0, 2), np.float16)}


def test_arrays_texts_and_order_read_back(tmp_path: Path) -> None:
    write_tensors(tmp_path / "new" / "x", ARRAYS, {"round": "4"})
    arrays, about = read_tensors(tmp_path / "new" / "x")
    assert about == {"round": "4"}
    assert list(arrays) == list(ARRAYS)
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[key], array)
        assert (arrays[key].dtype, arrays[key].shape) == (array.dtype, array.shape)


@settings(max_examples=300)
@given(st.data())
def test_a_byte_that_changed_is_found_out(data: st.DataObject) -> None:
    path = Path(FOLDER) / "x"
    write_tensors(path, ARRAYS, {"round": "4"})
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    try:
        arrays, about = read_tensors(path)
    except DamagedError:
        return
    assert about == {"round": "4"}  # what changed means nothing, such as a space of the header
    assert all(arrays[key].tobytes() == array.tobytes() for key, array in ARRAYS.items())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    global FOLDER
    FOLDER = str(tmp_path)


FOLDER = ""


def test_the_earlier_file_is_kept_under_its_other_name(tmp_path: Path) -> None:
    for number in range(3):
        write_tensors(tmp_path / "x", {"n": np.array(number)}, {}, earlier=tmp_path / "before")
    assert read_tensors(tmp_path / "x")[0]["n"] == 2
    assert read_tensors(tmp_path / "before")[0]["n"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before", "x"]
