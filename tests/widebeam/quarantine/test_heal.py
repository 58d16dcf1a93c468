"""Readings that came before their entry of the dictionary get their place by themselves, once it is there."""

from __future__ import annotations

from cdc.lsn import Lsn
from cdc.record.record import Changes, Stamp
from sink.fold.quarantine_entry import quarantine_entry
from sink.mapping.mapping import Mapping
from sink.mapping.rule import DictionaryRule, Rule
from sink.state import quarantine
from tests.widebeam.quarantine.test_quarantine import AT, COLUMNS, NARROW, TABLE, TYPES, Stage
from widebeam.quarantine import heal
from widebeam.quarantine.heal import Healer

RULE = Rule(
    NARROW,
    TYPES,
    ("ship",),
    ("name",),
    dictionary=DictionaryRule("channel", "SELECT id, name FROM public.names", ("name",)),
)


def test_a_reading_that_came_before_its_id_heals_when_the_dictionary_has_it(database: str, monkeypatch) -> None:
    """One that never comes is passed over, and does not keep others from being looked at."""
    monkeypatch.setattr(heal, "AT_ONCE", 1)
    stage, mapping = Stage(database), Mapping("ships", (RULE,), "wide", "{entity}")
    healer = Healer(database, database)
    stage.source.execute("CREATE TABLE public.names (id text PRIMARY KEY, name text)")
    for n, (channel, value) in enumerate((("never", 1.0), ("7", 1.5))):
        stage.write(channel, value, stream=False)
        stamp = Stamp("ships", 1, 0, Lsn(0x108), 1, 0)
        row = ["u", channel, str(value), None, "F"]
        changes = Changes(stamp, TABLE, {"ship": "a", "at": AT}, COLUMNS, [row])
        quarantine.write(stage.target, "ships", [quarantine_entry(changes, 0, f"0:{n}", "unknown_id", "by hand")])
    assert [healer.look(stage.target, mapping) for _ in range(3)] == [0, 0, 0]
    stage.source.execute("INSERT INTO public.names VALUES ('7', 'late')")
    assert sum(healer.look(stage.target, mapping) for _ in range(3)) == 1
    assert stage.target.execute("SELECT late FROM wide.a").fetchall() == [(1.5,)]
    assert stage.target.execute("SELECT origin FROM widebeam.quarantine").fetchall() == [("0:0:0",)]
    stage.target.close()
    stage.source.close()
