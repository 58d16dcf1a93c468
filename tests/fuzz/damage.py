"""Damage to bytes that were right: cut, flipped, swapped, repeated, spliced, and lengths that claim too much."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from struct import pack

from hypothesis import strategies as st

LENGTHS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""What a counter in two or four bytes may claim."""

Blow = Callable[[bytes], bytes]

places = st.integers(0, 4_000)


def _cut(at: int, size: int) -> Blow:
    return lambda data: data[: at % (len(data) + 1)] + data[at % (len(data) + 1) + size :]


def _flip(at: int, bit: int) -> Blow:
    def flip(data: bytes) -> bytes:
        if not data:
            return data
        changed = bytearray(data)
        changed[at % len(data)] ^= 1 << bit
        return bytes(changed)

    return flip


def _put(at: int, what: bytes, over: int) -> Blow:
    return lambda data: data[: at % (len(data) + 1)] + what + data[at % (len(data) + 1) + over :]


def _again(at: int, size: int, times: int) -> Blow:
    return lambda data: data[:at] + data[at : at + size] * times + data[at + size :]


def _swap(at: int, size: int) -> Blow:
    return lambda data: data[:at] + data[at + size : at + 2 * size] + data[at : at + size] + data[at + 2 * size :]


def _splice(other: bytes, at: int, there: int) -> Blow:
    return lambda data: data[: at % (len(data) + 1)] + other[there % (len(other) + 1) :]


def blows(other: bytes) -> st.SearchStrategy[Blow]:
    """One change; `other` is what is spliced in."""
    sizes = st.integers(1, 16)
    claims = st.sampled_from([claim for each in LENGTHS for claim in (pack(">I", each), pack(">H", each & 0xFFFF))])
    return st.one_of(
        st.builds(_cut, places, st.integers(1, 4_000)),
        st.builds(_flip, places, st.integers(0, 7)),
        st.builds(_put, places, st.binary(max_size=8), st.integers(0, 8)),
        st.builds(lambda at, claim: _put(at, claim, len(claim)), places, claims),
        st.builds(_again, places, sizes, st.integers(2, 40)),
        st.builds(_swap, places, sizes),
        st.builds(_splice, st.just(other), places, places),
    )


@st.composite
def damaged(draw: st.DrawFn, sound: st.SearchStrategy[bytes]) -> bytes:
    """Something sound, after one to four blows."""
    data, other = draw(sound), draw(sound)
    for blow in draw(st.lists(blows(other), min_size=1, max_size=4)):
        data = blow(data)
    return data


@contextmanager
def little_memory(data_size: int) -> Iterator[None]:
    """What is read may cost a hundred times its bytes and a megabyte, but not what it claims to hold."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * data_size + (1 << 20), f"{peak} bytes of memory for {data_size} bytes"
