from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import psycopg
import pytest

from cdc.halt import Cause, Halt
from cdc.source import publication
from cdc.source.identity import Identity, identities
from cdc.source.narrow import NarrowTable
from cdc.source.session import connect
from cdc.source.table_name import TableName

Admin: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
TABLE = NarrowTable("tenant", "Readings", ("ship",), ("at",), ("channel",), ("v",))
COLUMNS = '(id bigserial, ship text, channel text, at timestamp, v float8, "no need" text'


@pytest.fixture
def admin(database: str) -> Iterator[Admin]:
    with connect(database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA tenant")
        yield connection


def table(admin: Admin, more: str = ", PRIMARY KEY (ship, channel, at))") -> None:
    admin.execute(f'CREATE TABLE tenant."Readings" {COLUMNS}{more}')


def attributes(admin: Admin) -> list[str]:
    row = admin.execute("SELECT attnames::text[] FROM pg_publication_tables").fetchone()
    assert row is not None
    return sorted(row[0])


def test_only_our_columns_are_published(admin: Admin) -> None:
    table(admin)
    publication.create(admin, "P", TABLE)
    assert attributes(admin) == ["at", "channel", "ship", "v"]
    found = publication.inspect(admin, "P", TABLE)
    assert found is not None and found[:5] == (True, (), (), None, True)


def test_the_replica_identitys_columns_are_published_so_that_the_application_can_update(admin: Admin) -> None:
    table(admin, ", PRIMARY KEY (ship, channel, at, id))")
    publication.create(admin, "P", TABLE)
    assert attributes(admin) == ["at", "channel", "id", "ship", "v"]
    admin.execute("""INSERT INTO tenant."Readings" VALUES (1, 's', 'c', 'now', 1, 'x')""")
    admin.execute('UPDATE tenant."Readings" SET v = 2')
    admin.execute('DELETE FROM tenant."Readings"')


def test_a_table_with_full_identity_is_published_whole(admin: Admin) -> None:
    table(admin)
    admin.execute('ALTER TABLE tenant."Readings" REPLICA IDENTITY FULL')
    publication.create(admin, "P", TABLE)
    assert attributes(admin) == ["at", "channel", "id", "no need", "ship", "v"]
    admin.execute("""INSERT INTO tenant."Readings" VALUES (1, 's', 'c', 'now', 1, 'x')""")
    admin.execute('UPDATE tenant."Readings" SET v = 2')


def test_a_partition_with_full_identity_is_published_whole(admin: Admin) -> None:
    table(admin, ", PRIMARY KEY (ship, channel, at)) PARTITION BY LIST (ship)")
    admin.execute('CREATE TABLE tenant.one PARTITION OF tenant."Readings" DEFAULT')
    admin.execute("ALTER TABLE tenant.one REPLICA IDENTITY FULL")
    publication.create(admin, "P", TABLE)
    admin.execute("""INSERT INTO tenant."Readings" VALUES (1, 's', 'c', 'now', 1, 'x')""")
    admin.execute('UPDATE tenant."Readings" SET v = 2')


def test_a_table_without_an_identity_is_not_published_and_the_application_goes_on(admin: Admin) -> None:
    table(admin, ")")
    with pytest.raises(Halt, match=r"tenant\.Readings") as caught:
        publication.create(admin, "P", TABLE)
    assert caught.value.cause is Cause.REPLICA_IDENTITY
    admin.execute("""INSERT INTO tenant."Readings" VALUES (1, 's', 'c', 'now', 1, 'x')""")
    admin.execute('UPDATE tenant."Readings" SET v = 2')


def test_identities_tell_of_the_table_and_its_partitions(admin: Admin) -> None:
    table(admin, ", PRIMARY KEY (ship, channel, at)) PARTITION BY LIST (ship)")
    admin.execute("""CREATE TABLE tenant.one PARTITION OF tenant."Readings" FOR VALUES IN ('a')""")
    admin.execute("""CREATE TABLE tenant.two PARTITION OF tenant."Readings" FOR VALUES IN ('b')""")
    admin.execute("ALTER TABLE tenant.two REPLICA IDENTITY NOTHING")
    found = [each._replace(oid=0) for each in identities(admin, TABLE)]
    key = ("ship", "channel", "at")
    assert found == [
        Identity(TableName("tenant", "Readings"), "d", key),
        Identity(TableName("tenant", "one"), "d", key),
        Identity(TableName("tenant", "two"), "n", ()),
    ]
    assert [(one.usable, one.holds(TABLE)) for one in found] == [(True, True), (True, True), (False, False)]
    assert identities(admin, NarrowTable("no", "such", (), (), (), ())) == []


def test_an_index_as_identity_holds_its_columns(admin: Admin) -> None:
    table(admin, ", PRIMARY KEY (id))")
    assert not identities(admin, TABLE)[0].holds(TABLE)
    admin.execute(
        'ALTER TABLE tenant."Readings" ALTER ship SET NOT NULL, ALTER channel SET NOT NULL, ALTER at SET NOT NULL;'
        ' CREATE UNIQUE INDEX cell ON tenant."Readings" (at, ship, channel) INCLUDE (v);'
        ' ALTER TABLE tenant."Readings" REPLICA IDENTITY USING INDEX cell'
    )
    assert identities(admin, TABLE)[0].holds(TABLE)


def test_what_is_missing_is_told(admin: Admin) -> None:
    table(admin)
    assert publication.inspect(admin, "P", TABLE) is None
    admin.execute("CREATE PUBLICATION \"P\" WITH (publish = 'insert, update')")
    assert publication.inspect(admin, "P", TABLE) == publication.Published(
        False, TABLE.columns, ("delete", "truncate"), None, False
    )
    admin.execute('ALTER PUBLICATION "P" SET TABLE tenant."Readings" (ship, channel, at) WHERE (ship <> \'x\')')
    found = publication.inspect(admin, "P", TABLE)
    assert found is not None
    assert (found.covers, found.lacks_columns, found.whole) == (True, ("v",), False)
    assert found.row_filter is not None


def test_a_publication_of_all_tables_will_do(admin: Admin) -> None:
    table(admin)
    admin.execute('CREATE PUBLICATION "P" FOR ALL TABLES')
    found = publication.inspect(admin, "P", TABLE)
    assert found is not None
    assert found.whole


def test_partitions_under_their_own_names_do_not_cover_the_table(admin: Admin) -> None:
    table(admin, ", PRIMARY KEY (ship, channel, at)) PARTITION BY LIST (ship)")
    admin.execute('CREATE TABLE tenant.one PARTITION OF tenant."Readings" DEFAULT')
    admin.execute('CREATE PUBLICATION "P" FOR TABLE tenant."Readings"')
    found = publication.inspect(admin, "P", TABLE)
    assert found is not None
    assert (found.covers, found.via_root) == (False, False)


def test_dropping_twice_does_no_harm(admin: Admin) -> None:
    table(admin)
    publication.create(admin, "P", TABLE)
    publication.drop(admin, "P")
    publication.drop(admin, "P")
    assert publication.inspect(admin, "P", TABLE) is None
