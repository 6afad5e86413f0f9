"""The compiled kernels of QSGD give the same bits as the operations that they stand in for."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from topokit_trainer.compression import quantize
from topokit_trainer.compression.base import BLOCK
from topokit_trainer.compression.quantize import Quantize


@pytest.mark.parametrize("columns", [BLOCK + 1, 2 * BLOCK - 5, 2 * BLOCK + 8 * 1024])
@pytest.mark.parametrize(("levels", "bucket"), [(1, 1024), (15, 1024), (4, 100), (127, 7), (3, 1 << 17)])
def test_compiled_kernels_of_qsgd_give_the_same_bits(columns, levels, bucket):
    compressor, draws = Quantize((columns,), torch.float32, levels, bucket), [5, 6, 7]
    x = torch.randn((3, columns), generator=torch.Generator().manual_seed(1))
    x[0, :2000] = 0
    x[0, 1500:1900] = -0.0
    x[1, 2048:3000] *= 1e30
    x[2, ::3] = -x[2, ::3].abs() * 1e-30
    x[2, -1] = float("inf")
    wide = torch.cat([x, x], dim=1)
    target = torch.randn((4, 2 * columns), generator=torch.Generator().manual_seed(2))
    rows = torch.tensor([3, 0, 2])
    assert quantize._kernels() is not None
    results = []
    for kernels in (quantize._kernels(), None):
        with mock.patch.object(quantize, "_kernels", return_value=kernels):
            packed = compressor.encode(wide[:, columns:], draws)
            into = target.clone()
            compressor.add_(into[:, 10 : 10 + columns], rows, packed, draws)
            results.append((packed, into))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1].nan_to_num(7.25), results[1][1].nan_to_num(7.25))
    assert not torch.equal(results[0][1], target)
