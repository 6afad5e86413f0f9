"""The GPU's kernel in Triton's interpreter, which needs no GPU; skipped where Triton is not installed."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

SCRIPT = """
import numpy as np, torch
from topokit_trainer import mixing
from topokit_trainer.mixing import MixingOperator

device = torch.device("cpu")
assert mixing._gpu_kernel(device) is not None
rng = np.random.default_rng(0)
for dtype in (torch.float32, torch.float64, torch.bfloat16):
    for rows, others, columns in ((4, 0, 10), (3, 2, 2500), (1, 3, 1024), (64, 0, 5)):
        W = rng.random((rows, rows + others)) * (rng.random((rows, rows + others)) < 0.6) * 0.1
        W[np.arange(rows), np.arange(rows)] = 0
        target, source = np.nonzero(W)
        indptr = np.concatenate(([0], np.cumsum(np.bincount(target, minlength=rows))))
        operator = MixingOperator(rows, indptr, source, W[target, source])
        x = torch.from_numpy(rng.standard_normal((rows, columns))).to(dtype)
        received = torch.from_numpy(rng.standard_normal((others, columns))).to(dtype)
        expected, found = x.clone(), x.clone()
        operator._in_blocks(expected, received, expected, dense=False, add=True)
        assert operator._on_gpu(found, received, found, add=True)
        change = torch.empty(x.shape, dtype=mixing._sum_type(dtype))
        operator._on_gpu(x, received, change, add=False)
        # The interpreter fuses no multiplication with an addition, so that the order of sums is all that counts.
        assert torch.equal(found, expected)
        assert torch.equal(x.clone().add_(change), expected)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton, which comes with PyTorch's CUDA builds")
def test_the_kernel_does_what_pytorchs_operations_do():
    environment = dict(os.environ, TRITON_INTERPRET="1", OMP_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
