"""Averaged weights follow their formula; buffers are copied."""

import pytest
import torch
from torch import nn

from terraloom.learning.ema import averaged_copy, update_average


def filled(value):
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        for tensor in (*network.parameters(), network[1].running_mean):
            tensor.fill_(value)
    return network


def test_the_average_keeps_the_decay_and_takes_the_rest():
    network, average = filled(1.0), averaged_copy(filled(0.0))
    update_average(average, network, decay=0.9, updates=10_000)
    for parameter in average.parameters():
        assert parameter.detach().unique().tolist() == pytest.approx([0.1])


def test_the_random_start_is_forgotten_at_first():
    # (1 + 1) / (10 + 1) of the past is kept after one update, whatever the decay.
    network, average = filled(1.0), averaged_copy(filled(0.0))
    update_average(average, network, decay=0.999, updates=1)
    assert float(average[0].weight[0, 0].detach()) == pytest.approx(1 - 2 / 11)


def test_many_updates_reach_a_network_that_stands_still():
    network, average = filled(3.0), averaged_copy(filled(0.0))
    for updates in range(1, 200):
        update_average(average, network, decay=0.9, updates=updates)
    assert float(average[0].weight[0, 0].detach()) == pytest.approx(3.0, rel=1e-5)


def test_batch_statistics_are_copied_not_averaged():
    network, average = filled(5.0), averaged_copy(filled(0.0))
    update_average(average, network, decay=0.99, updates=10_000)
    assert average[1].running_mean.tolist() == [5.0, 5.0, 5.0]


def test_the_copy_shares_no_memory_and_takes_no_gradient():
    network = filled(1.0)
    average = averaged_copy(network)
    with torch.no_grad():
        network[0].weight.fill_(9.0)
    assert float(average[0].weight.max()) == 1.0
    assert not any(p.requires_grad for p in average.parameters())
    assert not average.training
    assert network.training
