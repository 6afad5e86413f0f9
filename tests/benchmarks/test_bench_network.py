"""Links are found within 10 % of their rate, and what they predict is within 20 % of what is timed."""

from __future__ import annotations

import pytest
from bench_network import TRAINER, Case, compare, link_errors
from hosts import namespaces_allowed


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not namespaces_allowed(), reason="this machine or user may not make network namespaces")
@pytest.mark.parametrize("rate", [100.0, 200.0, 1000.0])
def test_rounds_take_as_long_as_predicted(rate):
    case = Case((rate,) * 8)
    for _ in range(3):  # other programs may get in the way
        found = compare(case)
        errors = link_errors(case, found["network"])
        ratios = {what: ratio for what, _, _, ratio in found["rows"] if what != TRAINER}
        print(min(errors), max(errors), ratios)
        if all(abs(error - 1) < 0.1 for error in errors) and all(abs(ratio - 1) < 0.2 for ratio in ratios.values()):
            return
    pytest.fail(f"three times: links {min(errors)} to {max(errors)} of their rate, predicted over measured {ratios}")
