"""The supervisor with small programs as parts: restarts, halts, a clean end, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import psutil
import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from cdc.halt import Cause, Halt
from cdc.source.session import Silent, connect
from cdc.trouble import TROUBLES
from widebeam.cli.outcome import exit_code, is_away
from widebeam.process import child, poller, restarts
from widebeam.process.child import Part
from widebeam.process.part_state import PartState
from widebeam.process.restarts import AWAY, REFUSED, Death, Policy, Record, death
from widebeam.run import supervise as supervise_module
from widebeam.run.supervise import PartRefused, Supervisor


class Watch:
    """Reaches its goal when `done` says so; keeps the lines. `look` is called once a second."""

    def __init__(self, done) -> None:
        self.done, self.lines, self.looks, self.deaths = done, [], 0, []

    def look(self) -> bool:
        self.looks += 1
        return self.done(self)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def died(self, part: str, how: str, times: int) -> None:
        self.deaths.append((part, how, times))


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    """Parts are Python programs here, and restarts are quick."""
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c"))
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(poller, "LOOK", 0.02)
    monkeypatch.setattr(supervise_module, "TICK", 0.02)


QUICK = Policy(deaths=3, longest_pause=0.02)


def supervise(*programs: str, done=lambda _: False, finite: bool = False, halt: Halt | None = None) -> Watch:
    parts = [Part(f"part {number}", (text,), finite) for number, text in enumerate(programs)]
    watch = Watch(done)
    Supervisor(parts, watch, lambda: halt, QUICK).run()
    return watch


def parts_left() -> list[psutil.Process]:
    """Our children that are parts, and not servers of other tests, nor what is left of those."""
    running = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if "-c" in child.cmdline()]


SAYS = "import sys, time; print('hello', file=sys.stderr, flush=True); time.sleep(60)"


def test_the_parts_run_until_the_goal_and_are_gone_then():
    watch = supervise(SAYS, SAYS, done=lambda watch: watch.lines.count("hello") == 2)
    assert watch.lines.count("hello") == 2
    assert parts_left() == []


def test_a_part_that_dies_starts_again(tmp_path: Path):
    counter = tmp_path / "n"
    counter.write_text("")
    file = f"open({str(counter)!r}, 'a+')"
    program = (
        f"import time; f = {file}; f.write('x'); f.flush(); f.seek(0)\nif f.read() != 'xxx': raise SystemExit(1)\n"
    )
    supervise(program + "time.sleep(60)", done=lambda _: counter.read_text() == "xxx")
    assert counter.read_text() == "xxx"


def test_a_part_that_is_killed_starts_again(tmp_path: Path):
    flag = tmp_path / "second"
    program = (
        f"import os, signal, sys, time\nif os.path.exists({str(flag)!r}): print('again', file=sys.stderr, flush=True)\n"
        f"else: open({str(flag)!r}, 'w'); os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)"
    )
    assert "again" in supervise(program, done=lambda watch: "again" in watch.lines).lines


def test_a_part_that_has_done_its_work_is_not_started_again():
    looks_after: list[int] = []

    def long_after(watch: Watch) -> bool:
        looks_after.extend([watch.looks] * ("worked" in watch.lines))
        return len(looks_after) == 50  # a second; a part that is started again says so in a tenth of it

    watch = supervise("import sys; print('worked', file=sys.stderr)", finite=True, done=long_after)
    assert watch.lines.count("worked") == 1


def test_a_part_that_should_not_end_starts_again_when_it_does():
    watch = supervise("import sys; print('ended', file=sys.stderr)", done=lambda watch: watch.lines.count("ended") > 1)
    assert watch.lines.count("ended") > 1


def test_the_same_failure_again_and_again_is_a_halt():
    with pytest.raises(Halt, match="no disk, said 0x12") as caught:
        supervise("raise SystemExit('no disk, said 0x12')")
    assert caught.value.cause is Cause.REPEATED_FAILURE
    assert "died 3 times within 900 s by the same cause" in caught.value.what


GETS_ON = (
    "import threading; from widebeam.process.heartbeat import Heartbeat; Heartbeat(threading.Event()).progressed()\n"
)


@pytest.mark.parametrize(
    "program",
    [
        GETS_ON + "raise SystemExit('always the same')",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        f"raise SystemExit({AWAY})",
        "",
    ],
    ids=["after progress", "killed", "server away", "asked to end"],
)
def test_a_storm_of_deaths_that_are_not_its_own_failure_halts_nothing(program: str):
    watch = supervise(program, done=lambda watch: len(watch.deaths) > 2 * QUICK.deaths)
    assert [times for _, _, times in watch.deaths[:4]] == [1, 2, 3, 4]


def test_a_death_by_a_signal_of_its_own_making_counts():
    with pytest.raises(Halt, match="ended by SIGSEGV"):
        supervise("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_look_that_hangs_keeps_no_part_from_being_started_again(tmp_path: Path):
    """Until the part has come again, the look does not come to its end."""
    flag, again = tmp_path / "second", threading.Event()
    program = (
        f"import os, signal, sys, time\nif os.path.exists({str(flag)!r}): print('again', file=sys.stderr, flush=True)\n"
        f"else: open({str(flag)!r}, 'w'); os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)"
    )

    class Hangs(Watch):
        def line(self, text: str) -> None:
            again.set()

    def look(_: Watch) -> bool:
        came = again.wait(60)
        assert came, "nobody minded the part while the look hung"
        return came

    Supervisor([Part("part", (program,))], Hangs(look), lambda: None, QUICK).run()


def test_a_look_that_takes_long_is_told_once_until_one_ends(caplog: pytest.LogCaptureFixture):
    looking, ends = threading.Event(), threading.Event()

    def look(_: Watch) -> bool:
        looking.set()
        return ends.wait(60)

    watcher = poller.Poller(Watch(look), SimpleQueue())
    watcher.complain(time.monotonic() + poller.LONG + 1)
    assert caplog.messages == [], "nobody looks yet"
    watcher.begin()
    assert looking.wait(60)
    watcher.complain(time.monotonic())
    for _ in range(2):
        watcher.complain(time.monotonic() + poller.LONG + 1)
    assert [message for message in caplog.messages if "silent for 30 s" in message] == caplog.messages != []
    assert len(caplog.messages) == 1
    ends.set()


def test_an_error_of_the_look_ends_the_run():
    def fail(_: Watch) -> bool:
        raise Halt(Cause.SLOT_GONE, "the slot is gone", "drop it")

    with pytest.raises(Halt, match="the slot is gone"):
        supervise(SAYS, done=fail)
    assert parts_left() == []


def test_a_halt_of_a_part_halts_the_run_with_its_recorded_cause_and_ends_the_others():
    halt = Halt(Cause.SLOT_GONE, "the slot is gone", "drop it")
    with pytest.raises(Halt) as caught:
        supervise("raise SystemExit(3)", SAYS, halt=halt)
    assert caught.value is halt
    assert parts_left() == []


@pytest.mark.parametrize(("code", "why"), [(3, "chunk 7 failed"), (1, "died 3 times")], ids=["halts", "dies"])
def test_a_backfill_that_fails_ends_no_stream_that_is_well_and_is_told_at_the_end(code: int, why: str):
    fails = f"import sys; print('chunk 7 failed', file=sys.stderr); sys.exit({code})"
    parts = [Part("stream", (SAYS,)), Part("backfill 1", (fails,), finite=True, beside=True)]
    states: list[dict[str, str]] = []

    def attend(part_states: Sequence[PartState], *, ends: bool) -> None:
        states.append({one.part: one.state for one in part_states} if not ends else {})

    watch = Watch(lambda _: len(states) > 5 and all(one.get("backfill 1") == "failed" for one in states[-5:]))
    with pytest.raises(Halt, match=why):
        Supervisor(parts, watch, lambda: None, QUICK, attend=attend).run()

    assert [one.what for one in TROUBLES.all() if one.where == "backfill 1"] != []
    assert parts_left() == []
    TROUBLES.over("backfill 1")


def test_a_halt_that_could_not_be_recorded_is_told_by_its_last_line():
    with pytest.raises(Halt, match="the target is down"):
        supervise("import sys; print('the target is down', file=sys.stderr); sys.exit(3)")


def test_a_mistake_in_the_configuration_is_not_tried_again():
    with pytest.raises(PartRefused, match="unknown option"):
        supervise("import sys; print('unknown option', file=sys.stderr); sys.exit(2)")


# A handler that prints can come in the middle of a print, which Python forbids: these write without a buffer.
DRAINS = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (os.write(2, b'drained\\n'), sys.exit(0)))\n"
    "os.write(2, b'ready\\n')\nwhile True: time.sleep(0.1)"
)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_parts_drain_and_is_no_error(how):
    def ready(watch: Watch) -> bool:
        if "ready" in watch.lines:
            os.kill(os.getpid(), how)
        return False

    assert "drained" in supervise(DRAINS, done=ready).lines


STUBBORN = (
    "import os, signal, time\nsignal.signal(signal.SIGTERM, lambda *_: os.write(2, b'no\\n'))\n"
    "os.write(2, b'ready\\n')\nwhile True: time.sleep(0.1)"
)


def test_a_second_signal_ends_by_force():
    class Impatient(Watch):
        def line(self, text: str) -> None:
            super().line(text)
            if text in ("ready", "no"):
                os.kill(os.getpid(), signal.SIGINT)

    watch = Impatient(lambda _: False)
    Supervisor([Part("stubborn", (STUBBORN,))], watch, lambda: None, drain=1e6).run()
    assert watch.lines == ["ready", "no"]
    assert parts_left() == []


def test_what_has_not_ended_in_the_time_for_it_is_killed():
    class Asks(Watch):
        def line(self, text: str) -> None:
            super().line(text)
            if text == "ready":
                os.kill(os.getpid(), signal.SIGTERM)

    watch = Asks(lambda _: False)
    Supervisor([Part("stubborn", (STUBBORN,))], watch, lambda: None, drain=0.1).run()
    assert watch.lines[0] == "ready"
    assert parts_left() == []


def test_a_part_dies_with_a_supervisor_that_was_killed(tmp_path: Path):
    file = tmp_path / "supervisor.py"
    part = "from widebeam.process.child import die_with_parent; die_with_parent()\n" + SAYS
    file.write_text(
        "from widebeam.process import child\nfrom widebeam.process.child import Part\n"
        "from widebeam.run.supervise import Supervisor\n"
        "import sys\nchild.COMMAND = (sys.executable, '-c')\n"
        "class W:\n    def look(self): return False\n    def line(self, text): print(text, flush=True)\n"
        "    def died(self, *_): pass\n"
        f"Supervisor([Part('p', ({part!r},))], W(), lambda: None).run()\n"
    )
    with psutil.Popen([sys.executable, str(file)], stdout=-1, text=True) as supervisor:
        assert supervisor.stdout.readline() == "hello\n"
        (grandchild,) = supervisor.children()
        supervisor.kill()
        _, alive = psutil.wait_procs([grandchild], timeout=10)
    assert not alive


def test_pauses_grow_up_to_a_bound_and_different_causes_do_not_give_up():
    record, policy = Record(), Policy(longest_pause=0.03)
    pauses = [record.died(Death(f"error {'abc'[n % 3]}", 1.0, False), n, policy) for n in range(2000)]
    assert pauses[:3] == [0.01, 0.02, 0.03]
    assert set(pauses[3:]) == {0.03}


SAME = Death("pid 1 died at 0/12", 1.0, False)


def died(*deaths: tuple[float, Death], policy: Policy = QUICK) -> list[bool]:
    """Whether it is given up, at each of these times."""
    record = Record()
    return [record.died(each, now, policy) is None for now, each in deaths]


def test_deaths_by_one_cause_give_up_and_only_numbers_differ_is_one_cause():
    assert died((0, SAME), (1, SAME._replace(how="pid 99 died at 0/99")), (2, SAME)) == [False, False, True]


@pytest.mark.parametrize(
    "between",
    [SAME._replace(progressed=True), SAME._replace(ran=60.0), SAME._replace(how="another")],
    ids=["progress", "a long run", "another cause"],
)
def test_the_count_starts_anew_with(between: Death):
    assert died((0, SAME), (1, SAME), (2, between), (3, SAME)) == [False] * 4


def test_a_part_that_is_not_let_in_is_waited_for_by_time_and_not_by_number():
    refused = death(REFUSED, "password authentication failed", 0.1, progressed=False)
    policy = Policy(deaths=3, within=100)
    assert died(*((now, refused) for now in range(0, 120, 20)), policy=policy) == [False] * 5 + [True]
    assert died((0, refused), (50, refused._replace(progressed=True)), (120, refused), policy=policy) == [False] * 3


def test_deaths_that_lie_too_far_apart_do_not_count_together():
    policy = Policy(deaths=3, within=100)
    assert died((0, SAME), (60, SAME), (120, SAME), (130, SAME), policy=policy) == [False, False, False, True]


def test_a_kill_from_outside_neither_counts_nor_makes_anything_forgotten():
    killed = death(-signal.SIGKILL, "", 1.0, progressed=False)
    assert killed.outside and "SIGKILL" in killed.how
    assert died((0, SAME), (1, SAME), (2, killed), (3, killed), (4, SAME)) == [False] * 4 + [True]


@pytest.mark.parametrize("code", [1, 70, -signal.SIGSEGV, -signal.SIGABRT])
def test_a_failure_of_its_own_is_none_from_outside(code: int):
    assert not death(code, "", 1.0, progressed=False).outside


def test_signal_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    supervise(SAYS, done=lambda _: True)
    assert signal.getsignal(signal.SIGINT) is before
    assert threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (psycopg.OperationalError("FATAL: a session was lost, and this is no answer to who asked for one"), True),
        (psycopg.errors.ConnectionTimeout("connection timeout expired"), True),
        (Silent("the server has not answered for 60 s"), True),
        (psycopg.errors.InvalidPassword("FATAL: the database system is starting up"), False),
        (psycopg.errors.CannotConnectNow("FATAL: das Datenbanksystem startet"), True),
        (psycopg.errors.AdminShutdown("terminating connection"), True),
        (psycopg.errors.DiskFull("no space"), True),
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), True),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), False),
        (LookupError("gone"), False),
    ],
)
def test_a_server_out_of_reach_is_told_from_one_that_refuses(error: Exception, away: bool):
    assert is_away(error) == away


@pytest.fixture(scope="module")
def foreign() -> Iterator[str]:
    """Where a server is that refuses everybody, in Russian, by the SQLSTATE that is the user's name."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("foreign.py"))], stdout=subprocess.PIPE, text=True
    ) as process:
        yield f"host=127.0.0.1 port={process.stdout.readline()}"
        process.kill()


@pytest.mark.parametrize(
    ("code", "away"),
    [("57P03", True), ("28P01", False), ("28000", False), ("3D000", False), ("53300", False), ("42501", False)],
)
def test_a_server_that_is_not_up_yet_is_told_from_one_that_refuses_in_whatever_language(
    foreign: str, code: str, away: bool
):
    with pytest.raises(psycopg.OperationalError, match="ВАЖНО") as caught:
        connect(foreign, user=code, dbname="x", password="secret")
    assert is_away(caught.value) == away


def test_a_server_that_is_not_there_is_away():
    with pytest.raises(psycopg.OperationalError) as caught:
        connect("host=127.0.0.1 port=1 dbname=x user=x")
    assert is_away(caught.value)


def test_a_server_that_is_still_to_be_promoted_is_away(database: str):
    """Here it is the other way round, which is as good."""
    with pytest.raises(psycopg.OperationalError) as caught:
        connect(database, target_session_attrs="standby")
    assert is_away(caught.value)


def test_a_session_that_is_lost_is_no_refusal(database: str):
    """The server is up, and would let us in again."""
    with closing(connect(database)) as session, pytest.raises(psycopg.OperationalError) as caught:
        with socket.socket(fileno=os.dup(session.pgconn.socket)) as ours:
            ours.shutdown(socket.SHUT_RDWR)
        session.execute("SELECT 1")
    assert caught.value.sqlstate is None
    assert is_away(caught.value)


def test_a_part_that_is_refused_says_so_by_its_exit_code(foreign: str):
    with pytest.raises(psycopg.OperationalError) as caught:
        connect(foreign, user="28P01", dbname="x", password="secret")
    assert exit_code(caught.value, 1) == REFUSED


@pytest.mark.parametrize(("minded", "code"), [(True, AWAY), (False, 1)])
def test_a_part_under_a_supervisor_says_so_by_its_exit_code(tmp_path: Path, minded: bool, code: int):
    file = tmp_path / "plant.toml"
    text = 'dsn = "host=127.0.0.1 port=1 dbname=x"\n'
    file.write_text(
        f'[source]\n{text}table = "a.b"\nentity = ["e"]\ntime = "t"\nkey = "k"\n'
        f'[source.value]\ncolumns = ["v"]\n[target]\n{text}'
    )
    environment = {**os.environ, **({child.PARENT: str(os.getpid())} if minded else {})}
    done = subprocess.run(
        [sys.executable, "-m", "widebeam", "backfill", str(file)], env=environment, capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr
