"""What rounds drawn at random do to the squared consensus distance in expectation: by a formula, or estimated."""

from topokit.metrics.expectation.closed_form import (
    Expectation,
    Unknown,
    expectation_or_reason,
    expected_contraction,
    pairs_by_shift,
    why_not,
)

__all__ = ["Expectation", "Unknown", "expectation_or_reason", "expected_contraction", "pairs_by_shift", "why_not"]
