from __future__ import annotations

import random

import numpy as np
import torch

from flowbench.contract.checking.process_state import ProcessState, preserved_process


def test_a_block_leaves_the_process_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    with preserved_process() as before:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(threads + 1)
        torch.set_grad_enabled(False)
        torch.rand(3)
        random.random()
        np.random.rand()  # noqa: NPY002
        assert len(before.changed_settings()) == 3
        assert before.advanced_generators() == ["torch's", "NumPy's", "Python's"]
    assert torch.get_default_dtype() == dtype
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert torch.equal(torch.rand(3), expected)


def test_nothing_changed_is_nothing_said() -> None:
    state = ProcessState.take()
    assert not state.changed_settings()
    assert not state.advanced_generators()
