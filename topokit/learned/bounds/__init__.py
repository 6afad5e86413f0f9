"""What no graph can beat.

=======================  ===============================================================================================
`lower`                  the best bound that is known for an objective
`extreme_eigenvalues`    least eigenvalues and ratios of regular graphs, by linear programming
`linear_bound`           the linear programme
=======================  ===============================================================================================
"""

from topokit.learned.bounds.lower import Bound, lower_bound, moore_diameter, ramanujan_cost, ramanujan_slem

__all__ = ["Bound", "lower_bound", "moore_diameter", "ramanujan_cost", "ramanujan_slem"]
