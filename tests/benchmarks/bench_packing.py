"""Time of encoding, and of decoding and adding, each compressed form in units of a plain copy of the row; and bytes.

A link of r bytes a second takes 4 d / r for d uncompressed numbers, and as much less as there are fewer bytes; the time
of packing comes on top. All figures come from one run, with repetitions interleaved, because the speed of memory
depends on what else the machine does::

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_packing.py
    python tests/benchmarks/bench_packing.py --compressors sign top-k:0.01+sign --device cuda --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable

import torch

from topokit_trainer.compression import make_compressor

__all__ = ["COMPRESSORS", "measure"]

COMPRESSORS = (
    "identity",
    "bf16",
    "fp16",
    "sign",
    "qsgd:1",
    "qsgd:4",
    "qsgd:15",
    "top-k:0.001",
    "top-k:0.01",
    "top-k:0.1",
    "top-k:0.01+sign",
    "top-k:0.1+sign",
    "top-k:0.01+qsgd:4",
    "rand-k:0.01",
    "rand-k:0.1",
    "low-rank:1",
)


def measure(
    compressors: Iterable[str] = COMPRESSORS,
    *,
    columns: int = 5_000_000,
    repetitions: int = 11,
    device: str = "cpu",
) -> dict[str, dict[str, float]]:
    """Measure one row of float32.

    Parameters
    ----------
    compressors : iterable of str
    columns : int
        Length of the row; it should be larger than the caches. Low rank takes it for a matrix of 1,000 columns.
    repetitions : int
        Each gives one ratio; medians are returned.
    device : str

    Returns
    -------
    dict of str to dict of str to float
        For each compressor ``encode`` and ``add``, times over that of copying the row; ``seconds``, of both together;
        ``bytes``, and how many ``times_fewer`` than 4 a number.
    """
    x = torch.randn(1, columns, generator=torch.Generator().manual_seed(0)).to(device)
    target, copy = torch.zeros_like(x), torch.empty_like(x)

    def seconds(function: Callable[[], object]) -> float:
        if x.is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    shape = (columns // 1000, 1000) if columns % 1000 == 0 else (columns,)
    made = {text: make_compressor(text)(shape, torch.float32) for text in compressors}
    packed = {text: compressor.encode(x, [0]) for text, compressor in made.items()}
    times: dict[str, list[tuple[float, float, float]]] = {text: [] for text in made}
    for repetition in range(repetitions + 1):
        for text, compressor in made.items():
            draws = [repetition]
            plain = seconds(lambda: copy.copy_(x))
            encode = seconds(lambda c=compressor, draws=draws: c.encode(x, draws))
            add = seconds(lambda c=compressor, p=packed[text], draws=draws: c.add_(target, None, p, draws))
            if repetition:  # the first one warms up
                times[text].append((encode / plain, add / plain, encode + add))
    results = {}
    for text, compressor in made.items():
        encode, add, both = (statistics.median(values) for values in zip(*times[text], strict=True))
        fewer = 4 * columns / compressor.size
        results[text] = {"encode": encode, "add": add, "seconds": both, "bytes": compressor.size, "times_fewer": fewer}
    return results


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compressors", nargs="+", default=list(COMPRESSORS), help="which ones (%(default)s)")
    parser.add_argument("--columns", type=int, default=5_000_000, help="length of the row (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=11, help="medians are over so many (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    results = measure(
        options.compressors, columns=options.columns, repetitions=options.repetitions, device=options.device
    )
    if options.json:
        setting = {"columns": options.columns, "device": options.device, "threads": torch.get_num_threads()}
        print(json.dumps({**setting, "results": results}, indent=2, sort_keys=True))
        return
    print(f"1 row of {options.columns} float32 on {options.device}, {torch.get_num_threads()} threads; over a copy")
    print(f"{'':20} {'encode':>8} {'add':>8} {'ms both':>9} {'bytes':>10} {'fewer':>8}")
    for text, row in results.items():
        times = f"{row['encode']:8.2f} {row['add']:8.2f} {1e3 * row['seconds']:9.2f}"
        print(f"{text:20} {times} {row['bytes']:10d} {row['times_fewer']:8.1f}")


if __name__ == "__main__":
    main()
