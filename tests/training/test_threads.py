"""One thread inside, as many as before outside."""

from collections.abc import Iterator

import pytest
import torch

from fedsec.training.threads import one_thread


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Begin each test with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_comes_back() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_it_comes_back_after_an_error_too() -> None:
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 2


def test_it_nests() -> None:
    with one_thread():
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
