"""The command as a process: pipes, signals, exit statuses, and what starting it costs."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from topokit.designer import design
from topokit.schedule import Schedule

HEAVY = ("cvxpy", "matplotlib", "networkx", "numpy", "pandas", "scipy", "sklearn", "torch")


def finish(process, stdin=None):
    stdout, stderr = process.communicate(stdin, timeout=60)
    return process.returncode, stdout, stderr


def test_a_schedule_goes_through_a_pipe(start):
    first = start("design", "--topology", "hypercube", "--nodes", "16", "-o", "-")
    second = start("analyze", "-", "--json", stdin=first.stdout)
    status, stdout, stderr = finish(second)
    assert (status, stderr) == (0, "")
    assert json.loads(stdout)["hash"] == design("hypercube", 16).content_hash
    assert first.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["list", "weights"], 0, ""),
        (["analyze", "no.json"], 1, "error: cannot read no.json: there is no such file\n"),
        (["design"], 2, "error: Invalid value for '--nodes' / '-n': give the number of nodes (or --graph FILE)\n"),
        (["analyze", "s.json", "--require", "exact"], 3, "error: ring-8: not exact after 1 round"),
    ],
)
def test_exit_statuses(start, tmp_path, arguments, status, message):
    design("ring", 8).save(tmp_path / "s.json")
    found, _, stderr = finish(start(*arguments))
    assert found == status
    assert stderr.startswith(message)
    assert "Traceback" not in stderr


def test_an_interrupt_ends_it_without_a_traceback(start):
    def default_interrupt():  # tests may run where it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = start("analyze", "-", stdin=subprocess.PIPE, preexec_fn=default_interrupt)
    process.stdin.write(" " * 200_000)  # more than a pipe holds: it returns once the command reads
    process.stdin.flush()
    for _ in range(20):  # a signal that comes just before a read begins is seen only after it
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=2)
            break
        except subprocess.TimeoutExpired:
            continue
    assert process.returncode == 130
    assert process.stderr.read() == "error: interrupted\n"


def test_a_reader_that_leaves_is_not_an_error_message(start):
    reader, writer = os.pipe()
    os.close(reader)
    process = start("list", "topologies", stdout=writer)
    os.close(writer)
    process.wait(timeout=60)
    assert (process.returncode, process.stderr.read()) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_is_explained(start):
    with open("/dev/full", "w") as full:
        process = start("list", "topologies", stdout=full)
        process.wait(timeout=60)
    assert (process.returncode, process.stderr.read()) == (1, "error: No space left on device\n")


def test_an_ascii_terminal_is_served(start, command, tmp_path):
    command[1]["PYTHONIOENCODING"] = "ascii"
    schedule = design("ring", 4)
    Schedule.cyclic(schedule.rounds, provenance={"topology": "r\u00edng"}).save(tmp_path / "s.json")
    status, stdout, _ = finish(start("analyze", "s.json"))
    assert status == 0
    assert "r\\xedng-4" in stdout


def test_modules_stay_unloaded(command):
    line, environment = command
    code = """
import sys
try:
    from topokit_cli.main import main
    main(["--help"])
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""
    help_loads = subprocess.run([line[0], "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = set(help_loads.stderr.split())
    assert "topokit_cli.main" in loaded
    assert loaded.isdisjoint(HEAVY)
    code = "import sys, topokit; print(*sorted(sys.modules))"
    core_loads = subprocess.run([line[0], "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert set(core_loads.stdout.split()).isdisjoint((*HEAVY, "typer", "rich", "pydantic"))


def cpu_seconds(arguments, environment):
    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    least = float("inf")
    for _ in range(5):
        before = spent()
        subprocess.run(arguments, env=environment, stdout=subprocess.DEVNULL, check=True)
        least = min(least, spent() - before)
    return least


def test_help_costs_little_more_than_typer(command):
    line, environment = command
    with_help = cpu_seconds([*line, "--help"], environment)
    typer_alone = cpu_seconds([sys.executable, "-c", "import typer"], environment)
    assert with_help - typer_alone < 0.3
