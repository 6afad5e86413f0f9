"""TELEPORTATION: what mixing does to the values that travel, whichever nodes hold them.

Values are those of the tokens, and a round mixes them by a matrix that is not drawn: only the holders are. What the
nodes have in their memories besides plays no part. So the figure of a team is that of a period among its tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from topokit.averaging import prove_exact_averaging
from topokit.kinds import Teleport

__all__ = ["TokenContraction", "token_contractions"]


@dataclass(frozen=True)
class TokenContraction:
    """How a team of tokens approaches its mean.

    Attributes
    ----------
    active : int
        Number of tokens k.
    period : int
        Rounds after which their mixing repeats.
    value : float
        ||W^(period-1) ... W^(0) - J||_2^2 among the tokens: by what a period multiplies the squared distance from their
        mean, in the worst direction. 0 where it is proved to average exactly.
    status : {"proved", "numerical", "false"}
        Whether a period averages exactly.
    """

    active: int
    period: int
    value: float
    status: str

    @property
    def per_round(self) -> float:
        """Geometric mean over the rounds of the period."""
        return float(self.value ** (1 / self.period))

    def sentence(self) -> str:
        """Say it in one sentence.

        Examples
        --------
        >>> TokenContraction(4, 2, 0.0, "proved").sentence()
        'the 4 tokens average exactly after 2 rounds (proved)'
        """
        if self.active == 1:
            return "a single token has nothing to average with"
        if self.status != "false":
            after = f"after {self.period} rounds" if self.period > 1 else "in every round"
            return f"the {self.active} tokens average exactly {after} ({self.status})"
        return (
            f"the squared distance of the {self.active} tokens from their mean shrinks to {self.per_round:.6g} of it "
            f"or less per round, over a period of {self.period}"
        )


def token_contractions(kind: Teleport) -> tuple[TokenContraction | None, ...]:
    """Compute the contraction among the tokens of each team; None where it would take more than seconds.

    Examples
    --------
    >>> from topokit import design
    >>> [found.sentence() for found in token_contractions(design("teleportation", 16, active=(4,)).rule)]
    ['the 4 tokens average exactly after 2 rounds (proved)']
    """
    found: list[TokenContraction | None] = []
    for team in kind.teams:
        proof = prove_exact_averaging(team.rounds)
        norm = 0.0 if proof.status != "false" else proof.contraction
        known = None if norm is None else TokenContraction(team.active, len(team.rounds), norm**2, proof.status)
        found.append(known)
    return tuple(found)
