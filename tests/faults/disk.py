"""A small disk: a tmpfs of our own, which can be filled up and emptied again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_SMALLEST = 4096


@dataclass(frozen=True, slots=True)
class Disk:
    """A directory, on a tmpfs of its own where mounting is permitted (`small`), else on the disk that it is on."""

    directory: Path
    small: bool

    @classmethod
    def mount(cls, directory: Path, megabytes: int) -> Disk:
        """Mount a tmpfs at `directory`, which is made."""
        directory.mkdir(parents=True)
        if os.geteuid() != 0:
            return cls(directory, small=False)
        options = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(directory)]
        with suppress(OSError):
            return cls(directory, subprocess.run(options, check=False, capture_output=True).returncode == 0)
        return cls(directory, small=False)

    def unmount(self) -> None:
        """Let it go, whoever still has a file open in it."""
        if self.small:
            subprocess.run(["umount", "--lazy", str(self.directory)], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a block is left, until the end."""
        assert self.small
        ballast = self.directory / "ballast"
        try:
            with ballast.open("wb") as file:
                _fill(file.fileno())
            yield
        finally:
            ballast.unlink()


def _fill(file: int) -> None:
    size, end = 256 * 1024 * 1024, 0
    while size >= _SMALLEST:
        try:
            os.posix_fallocate(file, end, size)
        except OSError:
            size //= 2
        else:
            end += size
