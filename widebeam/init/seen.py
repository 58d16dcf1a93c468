"""What was seen of a database: a family of narrow tables, as one, with the dictionary of its keys. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from widebeam.init.dictionary import Dictionary
from widebeam.init.shape import Family, Shape


@dataclass(frozen=True, slots=True)
class Seen:
    """A family of narrow tables, `shape` all of it as one, with the dictionary of its keys."""

    family: Family
    shape: Shape
    dictionary: Dictionary | None
    dsn: str
    """Without a password."""
    apart: bool = False
    """A table's name is a part of the entity: nothing else tells the family's tables apart."""

    names: tuple[str, str] | None = None
    """A column of the entity whose numbers a table names, and that table."""

    alike: tuple[str, ...] = ()
    """Tables of other names with the same columns in the same parts."""

    @property
    def entity(self) -> tuple[str, ...]:
        """The entity's columns, real ones or the dictionary's, behind the table's name where it tells things apart."""
        table = ("table",) if self.apart else ()
        if self.shape.cell.entity or self.dictionary is None:
            return (*table, *self.shape.cell.entity)
        return (*table, *self.dictionary.entity)

    @property
    def merged(self) -> bool:
        """Whether several source rows can meet in one cell."""
        return not self.shape.cell.unique or bool(
            self.dictionary and self.dictionary.many_to_one and not self.dictionary.apart
        )
