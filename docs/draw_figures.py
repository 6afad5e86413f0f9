"""Draw the pictures of README and docs: ``make docs``."""

from pathlib import Path

from topokit import design
from topokit.pictures import plot_consensus, save_figure

FIGURES = Path(__file__).parent / "figures"


def main() -> None:
    """Draw them all."""
    FIGURES.mkdir(exist_ok=True)
    names = ("ring", "torus", "exponential", "one-peer-exponential")
    save_figure(plot_consensus({name: design(name, 64) for name in names}), FIGURES / "consensus.png")


if __name__ == "__main__":
    main()
