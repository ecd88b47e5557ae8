"""One thread inside, as many as before outside."""

import os
from collections.abc import Iterator

import pytest
import torch

from fedsec.training.threads import on_every_core, one_thread, workers


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


def test_every_item_has_a_result_in_its_place_on_one_thread_of_torch() -> None:
    found = on_every_core(lambda item: (item, torch.get_num_threads()), range(7), torch.device("cpu"))
    assert found == [(item, 1) for item in range(7)]
    assert torch.get_num_threads() == 2


def test_an_error_of_one_item_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        on_every_core(lambda item: 1 // item, [1, 0, 2], torch.device("cpu"))


def test_one_worker_keeps_a_gpu_busy_and_one_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers(torch.device("cuda")) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5})
    assert workers(torch.device("cpu")) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert workers(torch.device("cpu")) == os.cpu_count()
