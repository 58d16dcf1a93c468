"""The supervisor with small programs as parts: restarts, halts, a clean end, and nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from cdc.halt import Cause, Halt
from widebeam import child, restarts
from widebeam import supervise as supervise_module
from widebeam.child import Part
from widebeam.restarts import MOST, Record
from widebeam.supervise import PartRefused, Supervisor


class Watch:
    """Reaches its goal when `done` says so; keeps the lines. `look` is called once a second."""

    def __init__(self, done) -> None:
        self.done, self.lines, self.looks = done, [], 0

    def look(self) -> bool:
        self.looks += 1
        return self.done(self)

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    """Parts are Python programs here, and restarts are quick."""
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c"))
    monkeypatch.setattr(restarts, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(restarts, "LONGEST_DELAY", 0.02)
    monkeypatch.setattr(supervise_module, "LOOK", 0.02)


def supervise(*programs: str, done=lambda _: False, finite: bool = False, halt: Halt | None = None) -> Watch:
    parts = [Part(f"part {number}", (text,), finite) for number, text in enumerate(programs)]
    watch = Watch(done)
    Supervisor(parts, watch, lambda: halt).run()
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


def test_a_halt_of_a_part_halts_the_run_with_its_recorded_cause_and_ends_the_others():
    halt = Halt(Cause.SLOT_GONE, "the slot is gone", "drop it")
    with pytest.raises(Halt) as caught:
        supervise("raise SystemExit(3)", SAYS, halt=halt)
    assert caught.value is halt
    assert parts_left() == []


def test_a_halt_that_could_not_be_recorded_is_told_by_its_last_line():
    with pytest.raises(Halt, match="the target is down"):
        supervise("import sys; print('the target is down', file=sys.stderr); sys.exit(3)")


def test_a_mistake_in_the_configuration_is_not_tried_again():
    with pytest.raises(PartRefused, match="unknown option"):
        supervise("import sys; print('unknown option', file=sys.stderr); sys.exit(2)")


DRAINS = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('drained', file=sys.stderr, flush=True), sys.exit(0)))\n"
    "print('ready', file=sys.stderr, flush=True)\nwhile True: time.sleep(0.1)"
)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_parts_drain_and_is_no_error(how):
    def ready(watch: Watch) -> bool:
        if "ready" in watch.lines:
            os.kill(os.getpid(), how)
        return False

    assert "drained" in supervise(DRAINS, done=ready).lines


STUBBORN = (
    "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: print('no', file=sys.stderr, flush=True))\n"
    "print('ready', file=sys.stderr, flush=True)\nwhile True: time.sleep(0.1)"
)


def test_a_second_signal_ends_by_force():
    class Impatient(Watch):
        def line(self, text: str) -> None:
            super().line(text)
            if text in ("ready", "no"):
                os.kill(os.getpid(), signal.SIGINT)

    watch, began = Impatient(lambda _: False), time.monotonic()
    Supervisor([Part("stubborn", (STUBBORN,))], watch, lambda: None).run()
    assert watch.lines == ["ready", "no"]
    assert time.monotonic() - began < 10
    assert parts_left() == []


def test_a_part_dies_with_a_supervisor_that_was_killed(tmp_path: Path):
    file = tmp_path / "supervisor.py"
    part = "from widebeam.child import die_with_parent; die_with_parent()\n" + SAYS
    file.write_text(
        "from widebeam import child\nfrom widebeam.child import Part\nfrom widebeam.supervise import Supervisor\n"
        "import sys\nchild.COMMAND = (sys.executable, '-c')\n"
        "class W:\n    def look(self): return False\n    def line(self, text): print(text, flush=True)\n"
        f"Supervisor([Part('p', ({part!r},))], W(), lambda: None).run()\n"
    )
    with psutil.Popen([sys.executable, str(file)], stdout=-1, text=True) as supervisor:
        assert supervisor.stdout.readline() == "hello\n"
        (grandchild,) = supervisor.children()
        supervisor.kill()
        _, alive = psutil.wait_procs([grandchild], timeout=10)
    assert not alive


def test_delays_grow_up_to_a_bound_and_different_errors_do_not_give_up():
    record = Record()
    delays = [record.failed(f"error {'abc'[n % 3]}", 1.0) for n in range(40)]
    assert delays[:2] == [0.01, 0.02]
    assert set(delays[2:]) == {0.02}


def test_only_numbers_differ_is_the_same_failure_and_a_long_run_forgives():
    record = Record()
    assert [record.failed(f"pid {n} died at 0/{n}", 1.0) for n in range(MOST)][-1] is None
    assert record.failed("pid 99 died at 0/99", 3600.0) is not None
    assert record.same == 1


def test_signal_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    supervise(SAYS, done=lambda _: True)
    assert signal.getsignal(signal.SIGINT) is before
    assert threading.current_thread() is threading.main_thread()
