"""Which cells are NULL because the connector wants that of readings that do not fit their key's column."""

from __future__ import annotations

from collections.abc import Mapping as Dict

from sink.mapping.wide import ALL, identity
from sink.wide.registry import Registry
from widebeam.verify.cells import Narrow
from widebeam.verify.checksum import WideKey
from widebeam.verify.proof import Place


def nulled(narrow: Narrow, registry: Registry, differing: Dict[Place, tuple[str | None, str | None]]) -> set[Place]:
    """Those of the cells that are NULL by `type_conflict = "null"`. `differing` has their narrow and wide texts."""
    if registry.mapping.type_conflict != "null":
        return set()
    found = {place for place, (_, wide) in differing.items() if wide is None}
    sources = narrow.sources({WideKey(place.entity, place.time) for place in found})
    single = registry.mapping.layout == "single"
    return {
        place
        for place in found
        if (entity := registry.entities.get(ALL if single else identity(place.entity))) is not None
        and (column := entity.columns.get(place.key)) is not None
        and sources.get(place, column.source) != column.source
    }
