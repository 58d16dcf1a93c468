"""Lag is how long what waits has waited: 0 when nothing does, and None when nobody can know."""

from __future__ import annotations

from widebeam.status.lag import NOISE, Wal, WalClock, behind

DECODED = Wal(end=10 * NOISE, confirmed=10 * NOISE, streams=True, sent=10 * NOISE)


def lag(
    wal: Wal | None, *waits: float | None, held: float | None = None, clock: WalClock | None = None
) -> float | None:
    return behind(wal, clock or WalClock(), 1000.0, held=held, waits=waits)


def test_nothing_waits() -> None:
    assert lag(DECODED) == 0.0


def test_an_idle_connector_of_a_busy_database_is_not_behind_though_its_slot_was_not_acknowledged_for_a_while() -> None:
    assert lag(DECODED._replace(confirmed=NOISE)) == 0.0


def test_it_is_the_oldest_of_what_waits_and_not_the_last_change() -> None:
    assert lag(DECODED, 3.0, 75.0) == 75.0
    assert lag(DECODED, 3.0, held=20.0) == 20.0


def test_a_record_that_cannot_be_looked_at_makes_it_unknown() -> None:
    assert lag(DECODED, 3.0, None) is None
    assert lag(None) is None


def test_what_is_in_wal_that_nobody_decodes_is_unknown_unless_there_is_none() -> None:
    stopped = Wal(end=10 * NOISE, confirmed=10 * NOISE - 200, streams=False)
    assert lag(stopped) is None
    assert lag(stopped._replace(confirmed=stopped.end)) == 0.0


def test_wal_that_is_not_decoded_yet_is_as_old_as_its_first_byte_if_somebody_looked_then() -> None:
    clock = WalClock()
    late = DECODED._replace(sent=5 * NOISE, confirmed=4 * NOISE)
    clock.see(900.0, 6 * NOISE)
    assert lag(late, clock=clock) is None
    clock = WalClock()
    clock.see(900.0, 5 * NOISE)
    clock.see(950.0, 7 * NOISE)
    assert lag(late, clock=clock) == 100.0
