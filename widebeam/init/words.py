"""Words in columns' names, and what they tell about the part that a column plays. Pure."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")  # letters of any alphabet
_FUSED: Final = re.compile(r"(?P<head>[a-z]{3,})(?P<tail>id|ids|path|value|name|time|stamp|code)$")
_ALONE: Final = frozenset(("timestamp", "android", "covid", "liquid", "solid", "fluid", "grid", "acid", "rapid"))


def words(text: str) -> frozenset[str]:
    """A set of words, written as a line of them."""
    return frozenset(text.split())


KEY: Final = words(
    "key channel tag sensor metric metadata item attribute concept point datapoint signal parameter param series "
    "measure measurement variable quantity property field register analyte counter"
)
"""Names of what is measured."""

ENTITY: Final = words(
    "ship vessel imo entity device host plant site asset station machine vehicle node instance person patient subject "
    "store tenant home building room unit equipment turbine well customer product location gateway meter thing fleet "
    "robot pump engine truck aircraft house farm scope owner"
)
"""Names of what it is measured at."""

UNIT: Final = frozenset((word,) for word in words("unit units uom einheit unité unidad unità 단위 単位 单位"))
"""Last words of a column that says in what unit a reading is, where it is no unit of a plant."""

AUDIT: Final = words(
    "created creator inserted server ingested received modified changed voided deleted comment comments reason user "
    "version status revision hash old previous context event order encounter accession namespace group modifier by "
    "uuid guid retired origin log severity interpretation last_modified import batch"
)
"""Names of what is kept about the row rather than measured."""

TIME: Final = words(
    "time ts timestamp tstamp stamp clock date datetime at when epoch moment measured observed recorded sampled"
)
"""Names of the moment of a reading."""

NANOSECONDS: Final = frozenset(("ns", "nanos", "nanoseconds", "nsec"))

_VALUE: Final = words("value val v values wert messwert valeur valor valore 값 측정값 値 测量值 值 значение")
_WHOLE: Final = words(
    "state reading result measurement measure data decimal integer boolean string double float text numeric"
)
_QUALIFIES: Final = words("id format type modifier unit units kind name group flag flags count quality")

SOFT_DELETE: Final = frozenset(("voided", "deleted", "isdeleted", "removed", "obsolete", "invalid"))
QUALITY: Final = frozenset(("quality", "integrity", "dataintegrity", "validity"))

SENTINELS: Final = frozenset(
    ("unavailable", "unknown", "n/a", "na", "none", "null", "-", "--", "?", "bad", "no data", "")
)
"""Texts that stand for no reading, in lower case."""

TYPES: Final = words(
    "int integer uint bigint smallint long double float real decimal numeric number num text str string varchar char "
    "log bin binary blob bytea bool boolean date datetime timestamp json jsonb xml data"
)
"""Words at the end of a table's name for the type of its values."""

_NO_RESULTS: Final = words("log date datetime timestamp data")

LABELS: Final = frozenset(("labels", "label", "tags", "dimensions", "attributes", "dims"))


def tokens(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: `DataChannelID` is data, channel, id; `tagpath` is tag, path.

    A name of signs alone has none.
    """
    found: list[str] = []
    for word in (match[0].lower() for match in _TOKEN.finditer(name)):
        fused = None if word in _ALONE else _FUSED.fullmatch(word)
        found += [word] if fused is None else [fused["head"], fused["tail"]]
    return tuple(found)


def about(name: str, words: frozenset[str]) -> bool:
    """Whether a name has one of these words, in the singular or plural."""
    return any(word in words or word.removesuffix("s") in words for word in tokens(name))


def names_a_value(name: str) -> bool:
    """Whether a column of this name holds readings: `value`, `dbl_v`, `value_numeric`, `state`; not `value_format`."""
    found = tokens(name)
    if name.lower() in _WHOLE or (len(found) == 2 and found[0] == "result" and found[1] in TYPES - _NO_RESULTS):
        return True
    return bool(found) and not _VALUE.isdisjoint(found) and found[-1] not in _QUALIFIES


def qualifies_a_value(name: str) -> bool:
    """Whether a column of this name says something about the reading beside it: `value_format`, `value_modifier`."""
    found = tokens(name)
    return bool(found) and not _VALUE.isdisjoint(found) and found[-1] in _QUALIFIES


def stem(name: str) -> str:
    """A table's name without its numbers and the types at its end: what tables of one family share.

    `history_uint` is of the family history; catalog_product_entity_int and catalog_category_entity_int are not kin.
    """
    found = [word.lower() for word in re.split(r"[_\W\d]+", name) if word]
    while len(found) > 1 and found[-1] in TYPES:
        found.pop()
    return "_".join(found) or name
