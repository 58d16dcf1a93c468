"""Which partition a key belongs to: Java's murmur2, so that a Java producer places the same key alike.

Source: MurmurHash2 by Austin Appleby (public domain), with the seed and the sign mask of Kafka's default partitioner.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def partition(key: bytes, partitions: int) -> int:
    """The partition of `key`, 0 to `partitions` - 1."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """The 32-bit hash of `key`, as an unsigned number."""
    size = len(key)
    words = size >> 2
    h = _SEED ^ size
    for k in unpack_from(f"<{words}I", key):
        k = (k * _M) & _MASK  # noqa: PLW2901
        h = ((h * _M) ^ ((k ^ (k >> 24)) * _M)) & _MASK
    if size & 3:
        h = ((h ^ int.from_bytes(key[words << 2 :], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)
