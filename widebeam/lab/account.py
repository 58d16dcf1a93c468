"""The account under which servers run, and what it may reach.

PostgreSQL refuses to run as root, and no server of ours needs to. When we are root, servers therefore run as an
unprivileged account. That account cannot read files under a directory that it may not traverse: a project, or a
Python, in /root (mode 0700) is the usual case. Such a server's files are copied once to a place that it can read.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from widebeam.lab.once import alone

SHARED_PLACES: Final = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - the places that every account can traverse

# Python writes and renames these in a wheel's directory whenever a module is first imported, also while we copy it.
_BYTECODE: Final = "__pycache__"


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user of the operating system."""

    uid: int
    gid: int

    def may(self, path: Path, bits: int) -> bool:
        """Whether the mode bits of `path` grant `bits` (4 read, 2 write, 1 execute or traverse)."""
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return (stat.S_IMODE(found.st_mode) >> shift) & bits == bits

    def reaches(self, path: Path) -> bool:
        """Whether it may traverse every directory above `path` and read `path` itself."""
        real = path.resolve()
        wanted = 5 if real.is_dir() else 4
        return all(self.may(parent, 1) for parent in real.parents) and self.may(real, wanted)


def server_account() -> Account | None:
    """The account for servers: `postgres` or `nobody` when we are root, None (our own) when we are not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return Account(65534, 65534)


def new_directory(prefix: str) -> Path:
    """A new, empty directory that the servers' account owns and can reach; whoever asks for it removes it."""
    account = server_account()
    bases = [Path(tempfile.gettempdir()), *SHARED_PLACES]
    base = next(base for base in bases if account is None or (base.is_dir() and account.reaches(base)))
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    grant(made)
    return made


def grant(directory: Path) -> None:
    """Make `directory` and what is in it the servers' own. Nothing to do when they run as us."""
    account = server_account()
    if account is None:
        return
    if not all(account.may(parent, 1) for parent in directory.resolve().parents):
        raise PermissionError(
            f"{directory} lies under a directory that uid {account.uid} may not traverse; servers run as that "
            f"account because we are root. Give them a directory from widebeam.lab.account.new_directory"
        )
    for path in (directory, *_below(directory)):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def readable(*trees: Path) -> list[Path]:
    """The same trees, from where the servers' account can read them: where they are, or else as copies.

    All trees must be siblings (a program and its libraries find each other by relative paths); so are the copies.
    """
    account = server_account()
    if account is None or all(account.reaches(path) for tree in trees for path in (tree, *_below(tree))):
        return list(trees)
    place = _copies() / _fingerprint(trees)
    with alone(place):
        if not place.is_dir():
            _copy(trees, place)
    return [place / tree.name for tree in trees]


def _copies() -> Path:
    """Where copies are kept. Others can write to the place above, so a directory that is not ours is refused."""
    place = next(base for base in SHARED_PLACES if base.is_dir()) / "widebeam-lab-servers"
    place.mkdir(mode=0o755, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{place} is not a directory that only we can write to: remove it and start again")
    place.chmod(0o755)  # whatever the umask said
    return place


def _copy(trees: tuple[Path, ...], place: Path) -> None:
    """Copy beside `place` and rename, so that a half-made copy is never used."""
    making = Path(tempfile.mkdtemp(dir=place.parent))
    try:
        for tree in trees:
            shutil.copytree(tree, making / tree.name, symlinks=True, ignore=shutil.ignore_patterns(_BYTECODE))
        for path in (making, *_below(making)):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
        making.rename(place)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _below(directory: Path) -> Iterator[Path]:
    if not directory.is_dir():
        return
    for found, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if name != _BYTECODE]
        yield from (path for name in (*directories, *files) if not (path := Path(found, name)).is_symlink())


def _fingerprint(trees: tuple[Path, ...]) -> str:
    """A name for these very files: another version of a wheel gets another copy."""
    names = "\n".join(f"{tree.resolve()} {tree.stat().st_mtime_ns}" for tree in trees)
    return hashlib.sha256(names.encode()).hexdigest()[:16]
