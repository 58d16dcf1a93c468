"""The suite as it would run elsewhere: on another day, in another zone and language, on a slow machine.

`make test-elsewhere` runs a part of it under each of `PLACES`; `--whole` runs all of `make test` instead, and ARGS are
conditions that are to hold together in one run. What cannot be had here is skipped, and said. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from widebeam.lab.account import server_account

ROOT: Final = Path(__file__).parents[1]

PART: Final = (
    "tests/test_bench.py", "tests/test_transport.py", "tests/test_compose.py", "tests/test_docs.py",
    "tests/cdc/source", "tests/cdc/log", "tests/cdc/wire", "tests/cdc/test_capture.py",
    "tests/sink/mapping", "tests/sink/state", "tests/sink/wide/test_partitions.py", "tests/sink/test_run.py",
    "tests/snapshot/chunks", "tests/snapshot/test_run.py",
    "tests/widebeam/check", "tests/widebeam/cli", "tests/widebeam/config", "tests/widebeam/demo",
    "tests/widebeam/health", "tests/widebeam/init/test_init.py", "tests/widebeam/lab", "tests/widebeam/status",
    "tests/widebeam/run", "tests/widebeam/test_log.py", "tests/widebeam/verify",
)  # fmt: skip
"""Quick files of all rooms and both transports, and all that has to do with files, clocks, text and processes."""

PLACES: Final = (
    ("later", "kolkata", "c", "umask-000", "hash-seed"),
    ("st-johns", "korean", "homeless", "umask-077"),
    ("one-core",),
    ("far-path", "plain-user", "twice"),
)
"""Conditions that hold together in one run: none hides another."""

PYTEST: Final = (".venv/bin/pytest", "-n", "3", "--dist", "loadscope", "--no-loadscope-reorder", "-m", "not exhaustive")

PYTHONS: Final = (sys.executable, "/usr/bin/python3")

FAR: Final = "멀리 있는 길"
"""A directory with spaces and letters that ASCII does not have."""


class Missing(Exception):
    """What a condition needs is not on this machine."""


@dataclass
class Place:
    """How one run differs from a run here. `seed` is anything to end afterwards."""

    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    before: list[str] = field(default_factory=list)
    directory: Path = ROOT
    user: int | None = None
    group: int | None = None
    umask: int = -1
    runs: int = 1
    stack: ExitStack = field(default_factory=ExitStack)


def later(place: Place) -> None:
    """400 days from now, by libfaketime; servers keep the machine's clock, as those on other machines do."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries or shutil.which("cc") is None:
        raise Missing("libfaketime and a C compiler (apt-get install faketime gcc libc6-dev)")
    place.environment |= {"LD_PRELOAD": str(libraries[0]), "FAKETIME": "+400d"}  # tests/faketime.py does the rest


def zone(name: str) -> Callable[[Place], None]:
    """Another time zone, as TZ has it."""

    def set_zone(place: Place) -> None:
        if not Path("/usr/share/zoneinfo", name).exists():
            raise Missing("the machine's time zones (apt-get install tzdata)")
        place.environment["TZ"] = name

    return set_zone


def language(locale: str, remedy: str = "") -> Callable[[Place], None]:
    """Another language, as LANG has it."""

    def set_language(place: Place) -> None:
        known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.lower().split()
        if locale.lower().replace("-", "") not in known:
            raise Missing(f"the locale {locale} ({remedy})")
        place.environment = {name: value for name, value in place.environment.items() if not name.startswith("LC_")}
        place.environment["LANG"] = locale

    return set_language


def one_core(place: Place) -> None:
    """One core only, which a loop that never waits shares."""
    if shutil.which("taskset") is None:
        raise Missing("taskset (apt-get install util-linux)")
    place.before += ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
    busy = subprocess.Popen([*place.before, sys.executable, "-c", "while True: pass"])
    place.stack.callback(busy.wait)
    place.stack.callback(busy.kill)


def homeless(place: Place) -> None:
    """No HOME, as under many a service manager."""
    place.environment.pop("HOME", None)


def umask(bits: int) -> Callable[[Place], None]:
    """What files that are made may not be: 077 makes them ours alone, 0 everybody's."""

    def set_umask(place: Place) -> None:
        place.umask = bits

    return set_umask


def hash_seed(place: Place) -> None:
    """The order of sets is the same in every process; else it is another one in each."""
    place.environment["PYTHONHASHSEED"] = "1"


def far_path(place: Place) -> None:
    """A clone of the last commit in a directory with spaces and Korean letters, with an environment of its own."""
    directory = Path(tempfile.mkdtemp(prefix="wb-elsewhere-", dir="/var/tmp"))
    place.stack.callback(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    place.directory = directory / FAR
    subprocess.run(["git", "clone", "--quiet", ROOT, place.directory], check=True)
    if (ROOT / ".lab").exists():  # what is fetched once
        shutil.copytree((ROOT / ".lab").resolve(), place.directory / ".lab", symlinks=True)
    python = next((each for each in PYTHONS if reached(Path(each)) and has_venv(each)), sys.executable)
    subprocess.run(["make", "setup", f"PYTHON={python}"], cwd=place.directory, check=True, stdout=subprocess.DEVNULL)


def reached(program: Path) -> bool:
    """Whether the account that is not root may run it."""
    account = server_account()
    return program.exists() and (account is None or account.reaches(program))


def has_venv(python: str) -> bool:
    """Whether it makes virtual environments with pip in them; Debian has a package for that."""
    return subprocess.run([python, "-c", "import ensurepip, venv"], check=False, capture_output=True).returncode == 0


def plain_user(place: Place) -> None:
    """Not root: servers run as who runs the tests."""
    if os.geteuid() != 0:
        return  # so it is already
    if place.directory == ROOT:
        raise Missing("a clone that the user nobody may write to (far-path makes one)")
    if not reached(place.directory / ".venv" / "bin" / "python"):
        raise Missing("a Python with venv that a plain user may run (apt-get install python3-venv)")
    nobody = pwd.getpwnam("nobody")
    for path in (place.directory, *place.directory.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    place.user, place.group = nobody.pw_uid, nobody.pw_gid
    place.environment |= {"HOME": str(place.directory), "USER": "nobody", "LOGNAME": "nobody"}


def twice(place: Place) -> None:
    """Two runs at the same time."""
    place.runs = 2


CONDITIONS: Final[dict[str, Callable[[Place], None]]] = {
    "later": later,
    "kolkata": zone("Asia/Kolkata"),
    "st-johns": zone("America/St_Johns"),
    "c": language("C"),
    "korean": language("ko_KR.UTF-8", "apt-get install locales; localedef -i ko_KR -f UTF-8 ko_KR.UTF-8"),
    "homeless": homeless,
    "umask-077": umask(0o077),
    "umask-000": umask(0),
    "hash-seed": hash_seed,
    "one-core": one_core,
    "far-path": far_path,
    "plain-user": plain_user,
    "twice": twice,
}


@contextmanager
def prepared(conditions: Sequence[str], skipped: list[str]) -> Iterator[Place]:
    """A place where these hold, but for those that cannot be had here, which `skipped` gets with their reasons."""
    with ExitStack() as stack:
        place = Place(stack=stack)
        for name in conditions:
            try:
                CONDITIONS[name](place)
            except Missing as missing:
                skipped.append(f"{name}: without {missing}")
                print(f"skipped: {skipped[-1]}", flush=True)
        yield place


def run(place: Place, tests: Sequence[str]) -> bool:
    """Whether all tests pass there, in each of its runs; their output is ours."""
    command = [*place.before, *PYTEST, *tests]
    started = [
        subprocess.Popen(command, cwd=place.directory, env=place.environment, user=place.user, group=place.group,
                         umask=place.umask)
        for _ in range(place.runs)
    ]  # fmt: skip
    codes = [each.wait() for each in started]
    return not any(codes)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="make test-elsewhere", description=__doc__)
    parser.add_argument("conditions", nargs="*", choices=[[], *CONDITIONS], help="to hold together; all places without")
    parser.add_argument("--whole", action="store_true", help="all of `make test`, not the quick part of it")
    parser.add_argument("--tests", nargs="+", default=PART, help="files or tests instead of the quick part")
    given = parser.parse_args()
    red, skipped = [], list[str]()
    for conditions in [given.conditions] if given.conditions else PLACES:
        began = time.monotonic()
        print(f"== {', '.join(conditions)}", flush=True)
        with prepared(conditions, skipped) as place:
            well = run(place, [] if given.whole else given.tests)
        red += [] if well else [conditions]
        print(
            f"== {', '.join(conditions)}: {'green' if well else 'RED'} ({time.monotonic() - began:.0f} s)", flush=True
        )
    print(json.dumps({"red": red, "skipped": skipped}))
    sys.exit(1 if red else 0)


if __name__ == "__main__":
    main()
