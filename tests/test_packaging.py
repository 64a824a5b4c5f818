"""What an install gets: sdist, wheel, and the two linked modules in a folder of their own."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    "cli.py",
    "evals",
    "phiray",
    "pyproject.toml",
    "README.md",
    "LICENSE",
]

pytestmark = pytest.mark.slow


def run(*command: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist from a copy of the sources, and a wheel from that sdist alone."""
    folder = tmp_path_factory.mktemp("packaging")
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        run("cp", "-a", str(ROOT / name), str(copy / name), folder=folder)
    # `python -m build` makes the sdist, unpacks it elsewhere, and builds the wheel from there.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    run(*command, str(copy), folder=folder)
    return next((folder / "dist").glob("*.whl"))


def names_below_phiray(names: list[str]) -> set[str]:
    return {name.partition("phiray/")[2] for name in names if name.endswith(".py")}


def test_wheel_holds_every_module_as_a_real_file(wheel: Path) -> None:
    modules = {
        str(path.relative_to(ROOT / "phiray"))
        for folder in (ROOT / "phiray", ROOT / "phiray" / "evals")
        for path in folder.rglob("*.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        top_level = {name.split("/")[0] for name in names}
        assert "def main" in archive.read("phiray/cli.py").decode()
    assert names_below_phiray(names) == modules
    templates = {f"phiray/evals/{path.name}" for path in (ROOT / "evals").glob("*.jinja")}
    assert {"phiray/py.typed", "phiray/fetch/book_ids.txt", *templates} <= set(names)
    assert {name for name in top_level if not name.endswith(".dist-info")} == {"phiray"}


def test_sdist_holds_the_licence_and_both_linked_modules(wheel: Path) -> None:
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "phiray/cli.py", "phiray/evals/__init__.py"} <= names


def test_wheel_installed_into_a_fresh_folder_imports_cli_and_evals(
    wheel: Path, tmp_path: Path
) -> None:
    """Install without dependencies; those of this environment serve, this checkout does not."""
    target = tmp_path / "installed"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    run(sys.executable, *install, str(target), str(wheel), folder=tmp_path)
    script = (
        "import phiray.cli, phiray.evals\n"
        "print(phiray.cli.__file__)\n"
        "print(phiray.evals.__file__)\n"
    )
    out = run(sys.executable, "-c", script, folder=tmp_path, PYTHONPATH=str(target))
    assert out.split() == [str(target / "phiray/cli.py"), str(target / "phiray/evals/__init__.py")]
    help_text = run(str(target / "bin/phiray"), "--help", folder=tmp_path, PYTHONPATH=str(target))
    assert help_text.startswith("Usage: phiray ")
