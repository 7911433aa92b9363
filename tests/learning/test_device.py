"""The number of CPU threads decides the last digits of sums, so nothing may change it unasked."""

import pytest
import torch

from terraloom.learning.device import make_fabric, threads_kept


@pytest.fixture(autouse=True)
def as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_fabric_takes_as_many_threads_as_it_is_told():
    make_fabric(2)
    assert torch.get_num_threads() == 2
    make_fabric(1)
    assert torch.get_num_threads() == 1


def test_threads_set_inside_are_set_back_even_after_an_error():
    def fail():
        with threads_kept():
            torch.set_num_threads(2)
            raise ValueError("inside")

    make_fabric(1)
    with pytest.raises(ValueError, match="inside"):
        fail()
    assert torch.get_num_threads() == 1
