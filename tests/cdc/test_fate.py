"""What becomes of an error, by whose session it came from: one test for each class of the table."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from cdc.fate import ABSENT, LOST, SHUT, Fate, Whose, fate
from cdc.fault import fault, session_of

SOURCE, TARGET, STREAM, KAFKA = Whose.SOURCE, Whose.TARGET, Whose.STREAM, Whose.KAFKA
SERVERS = (SOURCE, TARGET, STREAM)


@pytest.mark.parametrize(
    ("code", "whose", "expected"),
    [
        *[(code, of, Fate.PASSES) for of in SERVERS for code in (LOST, "40P01", "55P03", "57014", "57P05", "XX000")],
        *[(code, of, Fate.WAITS) for of in SERVERS for code in (ABSENT, "08006", "25006", "53100", "53300", "57P03")],
        *[(code, of, Fate.REFUSED) for of in SERVERS for code in (SHUT, "28P01", "28000")],
        ("40001", SOURCE, Fate.CONFLICT),
        ("40001", TARGET, Fate.PASSES),
        *[(code, TARGET, Fate.POISON) for code in ("22003", "23514", "54000")],
        *[(code, SOURCE, Fate.HALTS) for code in ("22003", "23514")],
        ("42P01", SOURCE, Fate.PASSES),
        ("42501", SOURCE, Fate.PASSES),
        ("42P01", TARGET, Fate.PASSES),
        ("42501", TARGET, Fate.HALTS),
        ("42601", TARGET, Fate.HALTS),
        ("57P04", TARGET, Fate.HALTS),
        ("53200", TARGET, Fate.PASSES),
        ("42704", STREAM, Fate.HALTS),
        ("", TARGET, Fate.HALTS),
        ("_TRANSPORT", KAFKA, Fate.WAITS),
        ("TOPIC_AUTHORIZATION_FAILED", KAFKA, Fate.REFUSED),
        ("UNKNOWN_TOPIC_OR_PART", KAFKA, Fate.GONE),
        ("MSG_SIZE_TOO_LARGE", KAFKA, Fate.HALTS),
    ],
)
def test_an_error_passes_waits_poisons_or_halts_by_its_code_and_whose_it_is(
    code: str, whose: Whose, expected: Fate
) -> None:
    assert fate(code, whose) is expected


def test_an_error_is_of_the_innermost_session_that_claims_it() -> None:
    with pytest.raises(psycopg.Error) as caught, session_of(TARGET), session_of(SOURCE):
        raise psycopg.errors.UndefinedTable
    found = fault(caught.value)
    assert found is not None
    assert (found.whose, found.fate) == (SOURCE, Fate.PASSES)


def test_what_nobody_has_claimed_is_as_it_is_said_and_what_is_of_no_server_is_nothing() -> None:
    found = fault(psycopg.errors.NumericValueOutOfRange(), SOURCE)
    assert found is not None
    assert (found.whose, found.code, found.fate) == (SOURCE, "22003", Fate.HALTS)
    kafka = fault(KafkaException(KafkaError(KafkaError._TRANSPORT)))
    assert kafka is not None
    assert kafka.fate is Fate.WAITS
    assert fault(LookupError("gone")) is None


def test_a_target_that_is_read_only_is_waited_for(database: str) -> None:
    read_only = psycopg.connect(database, autocommit=True, options="-c default_transaction_read_only=on")
    with closing(read_only), pytest.raises(psycopg.Error) as caught:
        read_only.execute("CREATE TABLE public.t (x int)")
    found = fault(caught.value)
    assert found is not None
    assert found.fate is Fate.WAITS
