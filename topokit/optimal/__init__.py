"""Optimal mixing weights, with proof of how near to the optimum they are."""
