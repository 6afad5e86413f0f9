"""The wheel, installed in an environment of its own and run from another folder, is what a user gets."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    # Built from a copy, so that no build folder is left behind, nor an old one found.
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a git checkout")
    source = folder / "source"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run([*command, str(source)], check=True, timeout=110)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An interpreter that has the wheel, and of this environment's packages only what topokit depends on."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    interpreter = folder / "bin" / "python"
    site = subprocess.run(
        [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # A path named in a .pth file comes after site-packages, and .pth files in it (an editable topokit) are not read.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, timeout=60)
    return interpreter


def test_top_level_names_are_exactly_three(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"topokit", "topokit_trainer", "topokit_cli"}
    assert {"topokit/py.typed", "topokit_trainer/py.typed", "topokit_cli/py.typed"} <= set(names)
    assert any(name.endswith(".schema.json") for name in names)
    assert {"topokit/page/page.html", "topokit/page/page.css"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_installed_wheel_works_elsewhere(python, tmp_path):
    def run(*words, check=True):
        return subprocess.run(
            [str(w) for w in words], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=check
        )

    home = run(python, "-c", "import topokit, topokit_trainer, topokit_cli; print(topokit.__file__)").stdout
    assert str(python.parent.parent) in home
    topokit = python.with_name("topokit")
    run(topokit, "design", "--topology", "ring", "--nodes", 4, "-o", "ring.json")
    assert '"nodes"' in run(topokit, "analyze", "ring.json", "--json").stdout
    trained = run(topokit, "train", "ring.json", "--steps", 5, "--out", "run", "--json").stdout
    assert '"accuracy"' in trained
    assert (tmp_path / "run" / "metrics.jsonl").exists()
    assert "schedule" in run(python, "-m", "topokit_trainer", "--help").stdout
