"""A connector whose parts take turns in one thread: any of them in the middle of another one's step.

The source is real, and so is what capture makes of it (pgoutput out of a real slot), each sink's batch, each chunk and
each step of joining. Only who is next is decided here, by chance or by a test, so that a seed or a test tells the whole
history again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from typing import Any, TypeAlias

import duckdb
import psycopg

from cdc.failpoint import Failpoint, Injected, doing
from cdc.log.transport import Received
from cdc.record.assembler import Assembler
from cdc.record.envelope import decode, encode
from cdc.record.numbering import Numbering
from cdc.source.session import connect
from cdc.wire.pgoutput import Decoder
from sink.apply import Applier
from sink.fold.batch import Batch
from sink.lookup import Lookup
from sink.reread import SourceCells
from sink.state import account
from sink.state.account import Fenced
from sink.target import open_target
from sink.wide.registry import Registry
from snapshot.chunks import ledger
from snapshot.join import Joiner
from snapshot.sessions import sessions
from snapshot.settings import BackfillSettings
from snapshot.worker import Worker
from widebeam.config import config
from widebeam.config.connector import Connector
from widebeam.setup.prepare import prepare

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

FILE = """
[source]
dsn = "{dsn}"
tables = ["{name}.t_%"]
slot = "{name}_{database}"
entity = []
time = "at"
key = "name"
several = "{several}"
order_by = ["n"]
where = {{ good = ["1"] }}
[source.dictionary]
column = "id"
query = "SELECT id, name FROM public.names"
[source.value]
columns = ["v"]
nulls = ["-1"]
[target]
dsn = "{dsn}"
schema = "wide_{name}"
layout = "single"
[sink]
on_delete = "{on_delete}"
[backfill]
chunk_rows = 4
"""
NAMES = """
CREATE TABLE IF NOT EXISTS public.names AS
SELECT * FROM (VALUES (1, 'speed'), (2, 'speed'), (3, 'heat')) AS v (id, name);
CREATE SEQUENCE IF NOT EXISTS public.serial;
"""
TABLE = """
CREATE TABLE {name}.t_{letter} (at timestamptz, id int, good int, v int,
    n bigint DEFAULT nextval('public.serial') PRIMARY KEY);
CREATE INDEX ON {name}.t_{letter} (at);
ALTER TABLE {name}.t_{letter} REPLICA IDENTITY FULL;
"""
PIVOT = """
SELECT name, moment, value FROM (
    SELECT name, moment, {hold}(coalesce(v, -1), n) AS value FROM narrow JOIN names USING (id) WHERE good = 1
    GROUP BY name, moment
) WHERE value <> -1 ORDER BY ALL
"""
HOLD = {"first": "arg_min", "last": "arg_max"}
PARTITIONS = 2
MOST_DEEP = 3

COMMITTING = "a sink has read its cells again, and commits"
READ = "a chunk is read"
HELD = "a chunk is read while it holds the sinks"
"""Places; the others are failpoints of joining."""


@dataclass
class World:
    """One history: `step` does something by chance, `finish` lets everybody come to an end.

    `between` is called in the middle of steps, with the place; by default it does other things by chance. `filled` is
    how many rows by chance the first table has, and `before` what is done to it before anybody looks; `tables` are
    those that there are in the end.
    """

    dsn: str
    name: str
    several: str
    on_delete: str
    random: Random
    directory: Path
    filled: int = 12
    before: str = ""
    tables: str = "abcd"
    crashes: bool = True
    letters: str = "a"
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stack, self.deep, self.busy = ExitStack(), 0, set[str]()
        self.between: Callable[[str], None] = self._by_chance
        self.log: list[list[bytes]] = [[] for _ in range(PARTITIONS)]

    def __enter__(self) -> World:
        self.source = self.stack.enter_context(connect(self.dsn, autocommit=True))
        self.source.execute(f"{NAMES}; CREATE SCHEMA {self.name}".encode())
        self._create("a")
        for _ in range(self.filled):
            self.source.execute(self._insert("a").encode())
        self.do(f"{self.before}; ANALYZE t_a")
        self.connector = self._connector()
        ready = prepare(self.connector)
        self.source.execute("DELETE FROM widebeam.progress WHERE partition >= %s", [PARTITIONS])
        self.source.execute("UPDATE widebeam.connectors SET partitions = %s", [PARTITIONS])
        self.mapping = ready.mapping
        self.settings = BackfillSettings(
            ready.mapping, self.dsn, self.dsn, attempts=1000, backoff=0.0, chunk_rows=4,
            publication=self.connector.publication,
        )  # fmt: skip
        numbering, family = Numbering(self.name, 1, PARTITIONS), self.connector.family.narrow
        self.assembler = Assembler(ready.published, numbering, _NoRows(), family=family, oids=ready.oids)
        self.decoder = Decoder()
        self.appliers: dict[int, Applier] = {}
        self.targets = [self.stack.enter_context(open_target(self.dsn, "sink")) for _ in range(PARTITIONS)]
        self.workers = [self._worker(), self._worker()]
        self.joining = self.stack.enter_context(sessions(self.settings, Event()))
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()
        with connect(self.dsn, autocommit=True) as session:
            session.execute("SELECT pg_drop_replication_slot(%s)", [self.connector.slot])

    def _connector(self) -> Connector:
        file = self.directory / f"{self.name}.toml"
        database = self.dsn.split("dbname=")[1].split()[0]
        file.write_text(
            FILE.format(dsn=self.dsn, name=self.name, several=self.several, on_delete=self.on_delete, database=database)
        )
        return config.load(str(file), {})

    def step(self) -> None:
        """Somebody does something."""
        self._someone("wwwwwwmjcccppppssssssssr")

    def _someone(self, letters: str) -> None:
        what = {"w": self._write, "m": self.make, "j": self.look, "c": self.chunk, "p": self.pull,
                "s": self.sink, "r": self.rewind}  # fmt: skip
        what[self.random.choice(letters)]()

    def _by_chance(self, place: str) -> None:
        """In the middle of a step: what others do, much of it now and then."""
        if self.deep >= MOST_DEEP:
            return
        self.deep += 1
        try:
            for _ in range(self.random.choice([0, 0, 1, 2, 12])):
                self._someone("wwp" if place == HELD else "wwmjjjccccps")
        finally:
            self.deep -= 1
        if self.crashes and place != COMMITTING and self.random.random() < 0.2:
            self._say(f"failure at {place}")
            raise psycopg.OperationalError("lost") if place in (READ, HELD) else Injected(place)

    def _say(self, what: str) -> None:
        self.said.append("    " * self.deep + what)

    # The source and its stream.

    def _create(self, letter: str) -> None:
        self.source.execute(TABLE.format(name=self.name, letter=letter).encode())

    def _insert(self, letter: str) -> str:
        r = self.random
        return (
            f"INSERT INTO {self.name}.t_{letter} (at, id, good, v) VALUES ({self._moment()}, {r.choice([1, 2, 3])},"
            f" {r.choice([0, 1, 1, 1])}, {r.choice(['NULL', -1, *range(8)])})"
        )

    def _moment(self) -> str:
        return f"to_timestamp({1_700_000_000 + self.random.randrange(3)})"

    def make(self, rows: int = 8) -> None:
        """Another table of the family, with a history."""
        if len(self.letters) < len(self.tables):
            letter = self.tables[len(self.letters)]
            self._create(letter)
            self.letters += letter
            for _ in range(rows):
                self.source.execute(self._insert(letter).encode())
            self._say(f"make {letter}")

    def do(self, statement: str) -> None:
        """A transaction of the source's; tables are named by their letters."""
        self._say(statement)
        with self.source.transaction():
            self.source.execute(f"SET LOCAL search_path = {self.name}, public; {statement}".encode())

    def _write(self) -> None:
        with self.source.transaction():
            for _ in range(self.random.choice([1, 1, 3])):
                statement = self._change()
                self.source.execute(statement.encode())
                self._say(statement)

    def _change(self) -> str:
        r, letter = self.random, self.random.choice(self.letters)
        table = f"{self.name}.t_{letter}"
        one = f"WHERE n = (SELECT n FROM {table} ORDER BY md5(n::text || {r.random()}::text) LIMIT 1)"
        changes = [
            self._insert(letter),
            f"UPDATE {table} SET v = {r.choice(['NULL', -1, *range(8)])} {one}",
            f"UPDATE {table} SET good = 1 - good {one}",
            f"UPDATE {table} SET at = {self._moment()} {one}",
            f"UPDATE {table} SET n = nextval('public.serial') {one}",
        ]
        deletes = [f"DELETE FROM {table} {one}"] * 3 if self.on_delete == "clear" else []
        return r.choice(changes + deletes)

    def pull(self) -> None:
        """Capture."""
        frames = [
            data
            for (data,) in self.source.execute(
                "SELECT data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1',"
                " 'publication_names', %s, 'messages', 'true')",
                [self.connector.slot, self.connector.publication],
            )
        ]
        for event, size in self.decoder.events(frames):
            for partition, _, record in self.assembler.take(event, size):
                self.log[partition].append(encode(record))
        self._say(f"pull {len(frames)}")

    # Sinks.

    def sink(self, number: int | None = None, most: int | None = None) -> None:
        """A sink applies what is there, or some of it."""
        number = self.random.randrange(PARTITIONS) if number is None else number
        if f"sink {number}" in self.busy:
            return
        target = self.targets[number]
        known = account.load(target, self.name, [number])[number].progress
        batch = Batch(self.mapping, decode, {number: known})
        upto = known.next_offset + (self.random.choice([1, 2, 5]) if most is None else most)
        for offset in range(known.next_offset, min(upto, len(self.log[number]))):
            batch.take(Received(number, offset, None, self.log[number][offset], 1))
        if batch.admissions:
            self._say(f"sink {number} from {known.next_offset} to {min(upto, len(self.log[number]))}")
            with self._busy(f"sink {number}"):
                try:
                    self._applier(number).apply(batch)
                except Fenced:
                    self._say(f"sink {number} is fenced")

    def apply(self) -> None:
        """All that is in the log."""
        for number in range(PARTITIONS):
            self.sink(number, 10_000)

    def _applier(self, number: int) -> Applier:
        if number not in self.appliers:
            registry = Registry(self.mapping)
            registry.refresh(self.targets[number])
            rule = self.mapping.rule.dictionary
            assert rule is not None
            lookup, cells = Lookup(self.dsn, self.name, rule), SourceCells(self.dsn)
            self.stack.callback(lookup.close)
            self.stack.callback(cells.close)
            made = Applier(self.targets[number], self.mapping, registry, lookup, cells)
            commit = made._commit

            def commit_later(*given: Any, **options: Any) -> None:
                self.between(COMMITTING)
                self._say(f"sink {number} commits")
                commit(*given, **options)

            made._commit = commit_later  # type: ignore[method-assign]
            self.appliers[number] = made
        return self.appliers[number]

    def rewind(self) -> None:
        """A replay of one partition."""
        number = self.random.randrange(PARTITIONS)
        row = self.source.execute(
            "SELECT floor, next_offset FROM widebeam.progress WHERE connector = %s AND partition = %s",
            [self.name, number],
        ).fetchone()
        assert row is not None
        if row[0] < row[1] and self.random.random() < 0.3:
            self.replay(number, self.random.randrange(row[0], row[1]))

    def replay(self, number: int, to: int) -> None:
        """A partition goes back to an offset, as `widebeam replay` does it."""
        self._say(f"replay of {number} from {to}")
        self.source.execute(
            "UPDATE widebeam.progress SET epoch = epoch + 1, next_offset = %s, high = '0/0', barrier = '0/0',"
            " generation = 1, next_sequence = %s WHERE connector = %s AND partition = %s",
            [to, to, self.name, number],
        )

    # Chunks and tables that join.

    def _worker(self) -> tuple[Any, Worker, ExitStack]:
        stack = ExitStack()
        self.stack.push(stack)
        made = stack.enter_context(sessions(self.settings, Event()))
        worker = Worker(self.settings, made)
        stack.callback(worker.close)
        return made, worker, stack

    def chunk(self) -> None:
        """A worker that is free does the next chunk."""
        free = [n for n in range(len(self.workers)) if f"worker {n}" not in self.busy]
        if not free:
            return
        number = self.random.choice(free)
        made, worker, stack = self.workers[number]
        chunk = ledger.claim(made.target, self.name)
        if chunk is None:
            return
        self._say(f"worker {number} does {chunk.number} of {chunk.source} {chunk.reads}")
        with self._busy(f"worker {number}"), doing(Failpoint.BACKFILL_READ, self._read):
            alive = worker.do(chunk, Event())
        if not alive or (self.crashes and self.random.random() < 0.1):
            stack.close()
            self._say(f"worker {number} starts anew")
            self.workers[number] = self._worker()

    def _read(self) -> None:
        self.between(HELD if self._held() else READ)

    def _held(self) -> bool:
        """Whether somebody holds the sinks where they are."""
        try:
            with self.source.transaction():
                self.source.execute("SELECT FROM widebeam.progress WHERE connector = %s FOR UPDATE NOWAIT", [self.name])
        except psycopg.errors.LockNotAvailable:
            return True
        return False

    def look(self) -> None:
        """Let tables join."""
        if "joiner" in self.busy:
            return
        joiner = Joiner(self.settings, self.joining, self.connector.family)
        with self._busy("joiner"), ExitStack() as points:
            for point in (Failpoint.JOIN_WRITTEN_DOWN, Failpoint.JOIN_PUBLISHED):
                points.enter_context(doing(point, partial(self.between, point)))
            try:
                if joiner.look():
                    self._say("a table has joined")
            except Injected:
                pass

    @contextmanager
    def _busy(self, who: str) -> Iterator[None]:
        self.busy.add(who)
        try:
            yield
        finally:
            self.busy.remove(who)

    # The end.

    def finish(self) -> None:
        """Everybody does what is left, and nothing comes in between."""
        self.deep, self.crashes = MOST_DEEP, False
        for _ in range(200):
            self.make()
            self.look()
            self.chunk()
            self.pull()
            self.apply()
            if self._at_rest():
                return
        raise AssertionError("it comes to no end")

    def _at_rest(self) -> bool:
        (published,) = self.source.execute(
            "SELECT count(*) FROM widebeam.sources WHERE connector = %s AND gate_lsn IS NOT NULL", [self.name]
        ).fetchone() or (0,)
        return published == len(self.tables) and ledger.counts(self.source, self.name).open == 0

    def should(self) -> list[tuple[Any, ...]]:
        """The pivot, by DuckDB."""
        with duckdb.connect() as duck:
            duck.execute("CREATE TABLE narrow (moment text, id int, good int, v int, n bigint)")
            duck.execute("CREATE TABLE names (id int, name text)")
            names = self.source.execute("TABLE public.names").fetchall()
            rows = [
                row
                for letter in self.letters
                for row in self.source.execute(
                    f"SELECT at::text, id, good, v, n FROM {self.name}.t_{letter}".encode()
                ).fetchall()
            ]
            duck.executemany("INSERT INTO names VALUES (?, ?)", names)
            if rows:
                duck.executemany("INSERT INTO narrow VALUES (?, ?, ?, ?, ?)", rows)
            return duck.execute(PIVOT.format(hold=HOLD[self.several])).fetchall()

    def there(self) -> list[tuple[Any, ...]]:
        """The cells that the wide tables have."""
        cells = []
        for (name,) in self.source.execute(
            "SELECT column_name FROM widebeam.columns WHERE connector = %s", [self.name]
        ).fetchall():
            query = f'SELECT %s, at::text, "{name}" FROM wide_{self.name}.{self.name} WHERE "{name}" IS NOT NULL'
            cells += self.source.execute(query.encode(), [name]).fetchall()
        return sorted(cells)


class _NoRows:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError("no row has to be read from the source")
