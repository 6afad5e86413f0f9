"""A rank that trains nothing, for tests of the launcher: it says that it lives, and does what files tell it.

``dummy_rank.py FOLDER`` is a rank, ``dummy_rank.py FOLDER SIZE`` a launcher of SIZE of them. A rank adds a line to
FOLDER/rank-R when it starts. It ends the run when FOLDER/finish is there, refuses it when FOLDER/refuse is.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def note(folder: Path, line: object) -> None:
    with (folder / f"rank-{os.environ['RANK']}").open("a") as file:
        file.write(f"{line}\n")


def rank(folder: Path) -> int:
    from topokit_trainer.rank_processes import LAUNCHER, REFUSED, end_with, leave_refusal

    end_with(int(os.environ[LAUNCHER]))
    for name, number in (("deaf", signal.SIGINT), ("deaf", signal.SIGTERM), ("hard-of-hearing", signal.SIGINT)):
        if (folder / f"{name}-{os.environ['RANK']}").exists():
            signal.signal(number, lambda number, frame: note(folder, signal.Signals(number).name))
    note(folder, "started")
    try:
        while not (folder / "finish").exists():
            if (folder / "refuse").exists():
                leave_refusal("--lr must be modest")
                return REFUSED
            if not (folder / f"burn-{os.environ['RANK']}").exists():  # else busy all the time
                time.sleep(0.01)
    except KeyboardInterrupt:
        note(folder, "SIGINT")
        return 130
    (folder / "summary.json").write_text(json.dumps({"finished": True, "step": 10}))
    return 0


def launch(folder: Path, size: int) -> int:
    from topokit_trainer import rank_processes
    from topokit_trainer.survive import Launcher, Survival

    rank_processes.PATIENCE = dict.fromkeys(rank_processes.PATIENCE, 0.5)
    command = [sys.executable, __file__, str(folder)]
    return Launcher(command, size, Survival(restarts=1), folder, print).run()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    sys.exit(launch(place, int(sys.argv[2])) if len(sys.argv) > 2 else rank(place))
