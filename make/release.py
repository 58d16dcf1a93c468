"""Builds the wheel and the source archive into dist/, and tries the wheel in a fresh environment.

python3 make/release.py     with the Python of a virtual environment that has setuptools (`make release` sees to it)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("cdc", "sink", "snapshot", "widebeam")
SDIST = "from setuptools import build_meta; import sys; print(build_meta.build_sdist(sys.argv[1]))"


def build(dist: Path) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it: so the archive holds all that a build needs."""
    with tempfile.TemporaryDirectory() as place:
        clean = Path(place) / "source"
        for name in packaged():
            (clean / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clean / name)
        run([sys.executable, "-c", SDIST, str(dist)], clean)
        [archive] = dist.glob("*.tar.gz")
        with tarfile.open(archive) as files:
            files.extractall(place)  # noqa: S202 - we have just made it
        source = Path(place) / archive.name.removesuffix(".tar.gz")
        options = ["--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(dist)]
        run([sys.executable, "-m", "pip", "wheel", "--quiet", *options, str(source)], Path(place))
    [wheel] = dist.glob("*.whl")
    missing = set(packaged()) - set(zipfile.ZipFile(wheel).namelist()) - {"pyproject.toml", "README.md", "LICENSE"}
    if missing:
        sys.exit(f"{wheel.name} lacks {', '.join(sorted(missing))}: name them in [tool.setuptools.package-data]")
    return archive, wheel


def packaged() -> list[str]:
    """The files that a package is made of: what git knows of, and nothing that lies beside it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *LAYERS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [
        "pyproject.toml",
        "README.md",
        "LICENSE",
        *(one for one in listed.split("\0") if one and (ROOT / one).exists()),
    ]


def try_out(wheel: Path) -> None:
    """Install the wheel, and what it needs by the lock file, into a fresh virtual environment, and run the command."""
    with tempfile.TemporaryDirectory() as place:
        run([sys.executable, "-m", "venv", place], ROOT)
        pip = [f"{place}/bin/pip", "--disable-pip-version-check", "install", "--quiet"]
        run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "requirements-runtime.lock")], ROOT)
        run([*pip, "--no-index", "--no-deps", str(wheel)], Path(place))
        run([f"{place}/bin/widebeam", "--help"], Path(place))


def run(command: list[str], directory: Path) -> None:
    """Run a program; if it fails, show what it said and end."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    made = ROOT / "dist"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    print("· Build the source archive and, from it, the wheel", flush=True)
    archive, wheel = build(made)
    print("· Install the wheel into a fresh virtual environment and run `widebeam --help`", flush=True)
    try_out(wheel)
    print(f"✓ {archive.relative_to(ROOT)}\n✓ {wheel.relative_to(ROOT)}")
