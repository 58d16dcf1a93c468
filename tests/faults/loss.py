"""Packets that a socket's kernel throws away as they come in, as if the network had lost them.

Most kernels let anybody do that, some only root.

Source: Linux, "Linux Socket Filtering aka Berkeley Packet Filter (BPF)"; TCP asks a socket's filter before all else, so
what it refuses is neither acknowledged nor answered.
"""

from __future__ import annotations

import ctypes
import socket
from functools import cache
from typing import Final

_ATTACH: Final = 26  # SO_ATTACH_FILTER
_DETACH: Final = 27  # SO_DETACH_FILTER
_RANDOM: Final = 0xFFFFF000 + 56  # where a program finds a random number of 32 bits
_LOAD, _AT_LEAST, _RETURN = 0x20, 0x35, 0x06
_ALL: Final = 0xFFFFFFFF

ONLY_ROOT: Final = "only root may filter a socket's packets here"


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


@cache
def may_lose() -> bool:
    """Whether this kernel lets us."""
    with socket.socket() as end:
        try:
            lose(end, 1)
        except PermissionError:
            return False
    return True


def lose(end: socket.socket, share: float) -> None:
    """Of the packets that come to `end` this share is lost from now on: 0 none, 1 all, those without data included."""
    if share <= 0:
        end.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
        return
    steps = [(_LOAD, 0, 0, _RANDOM), (_AT_LEAST, 0, 1, min(int(share * 2**32), _ALL)), (_RETURN, 0, 0, _ALL)]
    steps = [(_RETURN, 0, 0, 0)] if share >= 1 else [*steps, (_RETURN, 0, 0, 0)]
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    end.setsockopt(socket.SOL_SOCKET, _ATTACH, bytes(_Program(len(steps), instructions)))
