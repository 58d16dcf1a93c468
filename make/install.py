"""Makes .venv from a lock file, and says every few seconds how far it is. Needs nothing but Python itself.

python3 make/install.py requirements.lock             what the tests and all else need
python3 make/install.py requirements-demo.lock --jars  what the demo needs; Kafka's jars are fetched meanwhile
"""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"
OLDEST = (3, 11)
EVERY = 2.0
"""Seconds without a word, at most: a long step is told from a hung one."""

PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off"]


class Failed(Exception):
    """A program ended with an error; the message is what it said."""


def main(lock: str, *, jars: bool) -> None:
    """The virtual environment with all that the lock file names, each file checked against its hash, and ourselves."""
    count = len(re.findall(r"^[a-z0-9-]+==", (ROOT / lock).read_text(), re.MULTILINE))
    with fetching() if jars else contextlib.nullcontext():
        if not PYTHON.with_name("pip").exists():
            step("Make a virtual environment in .venv", [sys.executable, "-m", "venv", str(ROOT / ".venv")])
        what = f"Install what {lock} names: {count} packages at most"
        options = ["--require-hashes", "--only-binary", ":all:", "--no-compile", "-r", str(ROOT / lock)]
        step(what, [*PIP, *options])
        # Without build isolation, which would fetch build tools that no lock file names.
        ours = ["--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
        step("Install the command `widebeam` from this directory", [*PIP, *ours])
        if jars:  # its start compiles them, too, but in silence: 7 s on a busy machine
            step("Compile what the demo loads", [str(PYTHON), "-c", "import widebeam.cli, widebeam.demo.run"])
        else:  # the tests take a warning for an error, also one that compiling somebody's module gives
            step("Compile the packages", [str(PYTHON), "-m", "compileall", "-q", "-j", "0", str(site_packages())])


def step(what: str, command: list[str]) -> None:
    """Run a program and say how far it is. Raises Failed with all that it said."""
    began = said = time.monotonic()
    print(f"· {what}", flush=True)
    now, words = "", []
    for line in output(command):
        if line is not None:
            words.append(line)
            now = progress(line) or now
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            print(f"  {said - began:.0f} s{now and ': ' + now}", flush=True)
    code = words.pop()
    if code != "0":
        raise Failed(f"{what}: ended with {code}\n" + "\n".join(words))
    print(f"✓ {what}  {time.monotonic() - began:.1f} s", flush=True)


def output(command: list[str]) -> Iterator[str | None]:
    """What a program says, line by line; None whenever it says nothing for a while; at the end its exit code."""
    lines: queue.Queue[str | None] = queue.Queue()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    with process:
        while True:
            try:
                line = lines.get(timeout=EVERY / 4)
            except queue.Empty:
                yield None
                continue
            if line is None:
                break
            yield line
    yield str(process.returncode)


def progress(line: str) -> str | None:
    """What a line of pip's means to a reader; None if nothing."""
    if found := re.match(r"Collecting ([\w.-]+)==(\S+)", line):
        return f"{found[1]} {found[2]}"
    if found := re.match(r"\s+Downloading (?:\S*/)?([\w.]+)-(\S+?)-.*\((.*)\)", line):
        return f"fetch {found[1]} {found[2]} ({found[3]})"
    return "unpack them" if line.startswith("Installing collected") else None


@contextlib.contextmanager
def fetching() -> Iterator[None]:
    """Fetch Kafka's jars beside the rest. If that fails, the demo tries again and says why."""
    sys.path.insert(0, str(ROOT))
    from widebeam.lab.jars import fetched_jars  # noqa: PLC0415 - standard library only, and only for the demo
    from widebeam.lab.process import ServerFailed  # noqa: PLC0415

    def fetch() -> None:
        with contextlib.suppress(ServerFailed, OSError):
            fetched_jars()

    thread = threading.Thread(target=fetch)
    thread.start()
    yield
    began = time.monotonic()
    while thread.is_alive():
        thread.join(EVERY)
        if thread.is_alive():
            print(f"  {time.monotonic() - began:.0f} s: fetch Kafka's jars (44 MB, once)", flush=True)


def site_packages() -> Path:
    """Where pip puts packages."""
    [found] = (ROOT / ".venv" / "lib").glob("python3*/site-packages")
    return found


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        here = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"Python {here} is too old: Widebeam needs 3.11 or newer. Name one: make setup PYTHON=python3.12")
    sys.stdout.reconfigure(errors="replace")  # a terminal of another encoding than UTF-8
    try:
        main(sys.argv[1], jars="--jars" in sys.argv[2:])
    except Failed as error:
        sys.exit(str(error))
