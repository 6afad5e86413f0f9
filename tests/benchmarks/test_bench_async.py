"""The simulated clock keeps what docs/benchmarks.md says of it."""

import pytest
from bench_async import LIMIT, VARIANTS, measure


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hundred_thousand_events_take_less_than_five_minutes(variant):
    rows = []
    for _ in range(3):  # a machine that is busy at the moment may be quiet at the next
        row = measure(variant, nodes=64, events=5000)
        if 100_000 / row["events_a_second"] < LIMIT and row["faster_than_one_at_a_time"] > 1:
            return
        rows.append(row)
    raise AssertionError(rows)
