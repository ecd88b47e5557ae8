"""An average of a network's weights follows them slowly, and the first of them are soon forgotten."""

import pytest
import torch
from torch import nn

from fedsec.training.averaging import Average


def test_the_average_is_that_of_the_definition() -> None:
    network, expected = nn.Linear(2, 2), torch.zeros(2, 2)
    with torch.no_grad():
        network.weight.zero_()
        average = Average(network, decay=0.6)
        for update in range(1, 30):
            network.weight.fill_(update)
            average.update()
            decay = min(0.6, update / (update + 10))
            expected = decay * expected + (1 - decay) * update
    torch.testing.assert_close(average.network.weight, expected)
    assert expected[0, 0] == pytest.approx(29 - 0.6 / 0.4, abs=1e-3)


def test_statistics_of_batchnorm_are_averaged_and_counts_are_copied() -> None:
    network = nn.BatchNorm1d(1)
    average = Average(network, decay=0.9)
    network(torch.tensor([[1.0], [3.0]]))
    average.update()
    assert 0 < average.network.get_buffer("running_mean").item() < network.get_buffer("running_mean").item()
    assert average.network.get_buffer("num_batches_tracked").item() == 1


def test_the_network_itself_is_left_alone() -> None:
    network = nn.Linear(2, 2).train()
    before = network.weight.detach().clone()
    average = Average(network, decay=0.5)
    average.update()
    assert network.training
    assert not average.network.training
    assert network.weight.requires_grad
    assert not average.network.weight.requires_grad
    assert torch.equal(network.weight, before)
