"""What a running search tells whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

__all__ = ["News", "Progress", "Tell", "in_words"]


class Progress(Protocol):
    """How far a search has come."""

    @property
    def seconds(self) -> float:
        """Since it began."""

    def sentence(self) -> str:
        """Say it in a line."""


Tell: TypeAlias = "Callable[[Progress], None]"


@dataclass(frozen=True)
class News:
    """Progress that is a value with words around it."""

    seconds: float
    text: str

    def sentence(self) -> str:
        """Say it in a line."""
        return f"{self.text} ({self.seconds:.1f} s)"


def in_words(tell: Tell | None, words: str) -> Callable[[float, float], None] | None:
    """Turn a callback for progress into one for a value and the seconds since the beginning.

    Examples
    --------
    >>> in_words(lambda progress: print(progress.sentence()), "{:.3g} s to consensus")(12.3456, 1.0)
    12.3 s to consensus (1.0 s)
    """
    if tell is None:
        return None

    def told(value: float, seconds: float) -> None:
        tell(News(seconds, words.format(value)))

    return told
