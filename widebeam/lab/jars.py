"""Kafka's jars: fetched from Maven Central once, each checked against the SHA-256 in kafka.lock."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from widebeam.lab.once import alone
from widebeam.lab.process import ServerFailed

LOCK: Final = Path(__file__).with_name("kafka.lock")
REPOSITORY: Final = "https://repo1.maven.org/maven2"
_ATTEMPTS: Final = 4


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock file: `sha256 group:artifact:version`, and `:classifier:extension` if it is not the jar."""

    sha256: str
    group: str
    artifact: str
    version: str
    classifier: str = ""
    extension: str = "jar"

    @classmethod
    def parse(cls, line: str) -> Jar:
        """Read a line of the lock file."""
        digest, coordinates = line.split()
        return cls(digest, *coordinates.split(":"))

    @property
    def name(self) -> str:
        """The file's name."""
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{tail}.{self.extension}"

    @property
    def url(self) -> str:
        """Where it comes from."""
        return f"{REPOSITORY}/{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"


def locked_jars(lock: Path = LOCK) -> list[Jar]:
    """All that a lock file names."""
    lines = lock.read_text().splitlines()
    return [Jar.parse(line) for line in lines if line and not line.startswith("#")]


def cache() -> Path:
    """Where fetched files stay: WIDEBEAM_LAB, or `.lab` in a checkout, or the user's cache."""
    if given := os.environ.get("WIDEBEAM_LAB"):
        return Path(given)
    root = Path(__file__).parents[2]
    return root / ".lab" if (root / "pyproject.toml").exists() else Path.home() / ".cache" / "widebeam"


def fetched_jars(lock: Path = LOCK) -> Path:
    """The directory with all that the lock file names and nothing else; fetches what is missing."""
    release = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    directory = cache() / lock.stem / release
    with alone(directory):
        directory.mkdir(exist_ok=True)
        missing = [jar for jar in locked_jars(lock) if not (directory / jar.name).exists()]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda jar: fetch(jar, directory, lock), missing))
    return directory


def fetch(jar: Jar, directory: Path, lock: Path = LOCK) -> Path:
    """Fetch one archive into `directory`, if it is what the lock file names; where it is then. Raises ServerFailed."""
    content = _download(jar)
    if hashlib.sha256(content).hexdigest() != jar.sha256:
        raise ServerFailed(f"{jar.url} is not what {lock.name} names: its SHA-256 differs. Nothing of it was kept")
    # Beside the directory, not in it: whoever lists or copies the directory sees whole files only.
    with tempfile.NamedTemporaryFile(dir=directory.parent, prefix=".", delete=False) as part:
        part.write(content)
    path = Path(part.name)
    with contextlib.ExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)
        path.chmod(0o644)
        return path.rename(directory / jar.name)


def _download(jar: Jar) -> bytes:
    for attempt in range(_ATTEMPTS):
        try:
            with urllib.request.urlopen(jar.url, timeout=60) as response:  # noqa: S310 - the scheme is fixed above
                content: bytes = response.read()
                return content
        except OSError as error:  # a name that does not resolve, a connection cut short, an HTTP status
            if attempt == _ATTEMPTS - 1:
                raise ServerFailed(f"{jar.url}: {error}. It is fetched once: try again online") from error
    raise AssertionError("unreachable")
