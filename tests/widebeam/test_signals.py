import signal
import subprocess
import sys

import pytest

from tests.waiting import PATIENCE

WORKS = """
import sys
from widebeam.cli.parts.part import stop_on_signals
stop = stop_on_signals()
print("ready", flush=True)
while not stop.is_set():  # the event's own methods are where a handler would find its lock held
    stop.wait(0)
print("drained", flush=True)
{then}
"""


def working(then: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WORKS.format(then=then)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_part_in_order(how: signal.Signals) -> None:
    with working() as process:
        process.send_signal(how)
        assert process.communicate(timeout=30)[0] == "drained\n"
        assert process.returncode == 0


def test_a_storm_of_signals_never_leaves_a_part_hanging() -> None:
    for _ in range(10):
        with working() as process:
            while process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) in (0, -signal.SIGTERM)


def test_a_second_signal_ends_a_part_that_does_not_come_to_its_end() -> None:
    with working("import time; time.sleep(600)") as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "drained\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == -signal.SIGTERM


def test_a_command_ends_by_a_signal_that_its_parent_had_blocked() -> None:
    program = "import sys; from widebeam.cli import main; import widebeam.cli as c, time; " \
        "c.app = lambda: (print('ready', flush=True), time.sleep(600)); main()"  # fmt: skip
    wanted = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
