"""Protections of who minds the parts of a run, and of what is told of them outside; and of servers that are fetched."""

from __future__ import annotations

from typing import Final

from tests.protections.protection import ASSERTED, Edit, Protection

SUPERVISE: Final = "tests/widebeam/run/test_supervise.py::test_"
NOTIFY: Final = "tests/widebeam/health/test_systemd.py::test_"
VITALS: Final = "tests/widebeam/process/test_part_state.py::test_"
HEALTH_PORT: Final = "tests/widebeam/health/test_health.py::test_"
WATCH: Final = "tests/cdc/test_watch.py::test_"
SESSION: Final = "tests/cdc/source/test_session.py::test_"
JUDGE: Final = "tests/widebeam/status/test_judge.py::test_"
LAB: Final = "tests/widebeam/lab/test_lab.py::test_"
STORM: Final = SUPERVISE + "a_storm_of_deaths_that_are_not_its_own_failure_halts_nothing"
READY: Final = NOTIFY + "it_is_ready_once_all_parts_are_at_work_and_tells_that_it_ends"

HEALTH: Final = (
    Protection(
        "looks in a thread of its own",
        ("part fails", "silent server"),
        (Edit("widebeam/process/poller.py", "self._thread.start()", "self._work()"),),
        (SUPERVISE + "a_look_that_hangs_keeps_no_part_from_being_started_again",),
    ),
    Protection(
        "an error of a look ends the run",
        ("part fails",),
        (Edit("widebeam/run/supervise.py", "if error is not None:\n                    raise error", "pass"),),
        (SUPERVISE + "an_error_of_the_look_ends_the_run",),
    ),
    Protection(
        "a look that takes long is told",
        ("silent server",),
        (Edit("widebeam/process/poller.py", "if late and not self._late:", "if False:"),),
        (SUPERVISE + "a_look_that_takes_long_is_told_once_until_one_ends",),
    ),
    Protection(
        "a server out of reach is no failure",
        ("part fails", "session ends"),
        (Edit("widebeam/process/restarts.py", "outside=code == AWAY", "outside=False"),),
        (STORM,),
        "cdc.halt.Halt",
    ),
    Protection(
        "being asked to end is no failure",
        ("part fails",),
        (
            Edit(
                "widebeam/process/restarts.py",
                "ran, progressed, outside=True)\n    if code > 0:",
                "ran, progressed)\n    if code > 0:",
            ),
        ),
        (STORM,),
        "cdc.halt.Halt",
    ),
    Protection(
        "a part's own signals count",
        ("part fails",),
        (Edit("widebeam/process/restarts.py", "outside=how not in _OWN)", "outside=True)"),),
        (SUPERVISE + "a_failure_of_its_own_is_none_from_outside",),
    ),
    Protection(
        "a question without an answer is given up",
        ("silent server", "bad network"),
        (Edit("cdc/source/session.py", "ours.shutdown(socket.SHUT_RDWR)", "pass"),),
        (SESSION + "a_question_that_a_server_does_not_answer_is_given_up",),
        "Failed: Timeout",
    ),
    Protection(
        "the server gives us up",
        ("bad network", "session ends"),
        (Edit("cdc/source/session.py", "[_set(HEARD), more, ", "[more, "),),
        (SESSION + "the_server_watches_over_us_as_well",),
    ),
    Protection(
        "a catalog's look that hangs is left",
        ("silent server", "SIGTERM"),
        (Edit("cdc/watch.py", "self._thread.join(_FAREWELL)", "self._thread.join()"),),
        (WATCH + "a_look_that_hangs_does_not_keep_capture_from_ending",),
    ),
    Protection(
        "a catalog's look that fails is tried again",
        ("session ends", "publication altered"),
        (Edit("cdc/watch.py", "except psycopg.Error as error:", "except () as error:"),),
        (WATCH + "a_look_that_fails_is_made_again_and_what_it_finds_then_counts",),
    ),
    Protection(
        "a catalog's finding is raised",
        ("not published", "publication altered"),
        (Edit("cdc/watch.py", "self.found = halt\n", "return\n"),),
        (WATCH + "a_look_that_fails_is_made_again_and_what_it_finds_then_counts",),
    ),
    Protection(
        "the watchdog waits for all parts",
        ("part hangs",),
        (Edit("widebeam/health/reporter.py", "if alive(part_states):", "if True:"),),
        (NOTIFY + "a_part_that_is_stopped_misses_the_watchdog_until_it_goes_on",),
    ),
    Protection(
        "ready when all are at work",
        ("part hangs",),
        (Edit("widebeam/health/reporter.py", "elif at_work(part_states):", "else:"),),
        (NOTIFY + "with_a_part_that_never_gets_to_work_it_is_never_ready",),
    ),
    Protection(
        "the end may take its time",
        ("SIGTERM",),
        (Edit("widebeam/health/reporter.py", "self._notifier.stopping(self._drain)", "pass"),),
        (READY,),
        ASSERTED + "|ValueError: 'STOPPING=1' is not in list",
    ),
    Protection(
        "children do not speak for us",
        ("part hangs",),
        (
            Edit(
                "widebeam/health/systemd.py",
                'environment.pop("NOTIFY_SOCKET", "")',
                'environment.get("NOTIFY_SOCKET", "")',
            ),
        ),
        (READY,),
    ),
    Protection(
        "only our own watchdog",
        ("part hangs",),
        (Edit("widebeam/health/systemd.py", ' != "0" and ours', ' != "0"'),),
        (NOTIFY + "a_watchdog_that_is_for_another_process_is_none_of_ours",),
    ),
    Protection(
        "systemd stops nobody",
        ("part hangs",),
        (Edit("widebeam/health/systemd.py", "self._socket.setblocking(False)", "pass"),),
        (NOTIFY + "systemd_that_does_not_read_stops_nobody",),
        "Failed: Timeout",
    ),
    Protection(
        "systemd is told again",
        ("part hangs",),
        (
            Edit(
                "widebeam/health/systemd.py",
                "lines, error)\n            return False",
                "lines, error)\n            return True",
            ),
        ),
        (NOTIFY + "systemd_that_does_not_read_stops_nobody",),
    ),
    Protection(
        "silent parts are known",
        ("part hangs",),
        (Edit("widebeam/process/part_state.py", "    if now - felt > SILENT:\n", "    if False:\n"),),
        (VITALS + "a_sign_of_life_means",),
    ),
    Protection(
        "parts that never start are known",
        ("part hangs",),
        (
            Edit(
                "widebeam/process/part_state.py", '"starting" if now - started <= STARTING else "silent"', '"starting"'
            ),
        ),
        (VITALS + "a_sign_of_life_means",),
    ),
    Protection(
        "hung parts are not live",
        ("part hangs",),
        (
            Edit(
                "widebeam/process/part_state.py",
                '("starting", "at work", "pausing", "done", "failed"))',
                '("starting", "hung", "silent"))',
            ),
        ),
        (VITALS + "a_part_that_stands_still_is_not_live",),
    ),
    Protection(
        "a supervisor that stands still is not live",
        ("part hangs",),
        (Edit("widebeam/health/health.py", "if attended is not None and now - attended > SILENT:", "if False:"),),
        (HEALTH_PORT + "a_supervisor_that_stands_still_is_not_live",),
    ),
    Protection(
        "a run that ends is not ready",
        ("SIGTERM",),
        (Edit("widebeam/health/health.py", '["it ends"] if ends else []', "[]"),),
        (HEALTH_PORT + "a_run_that_ends_is_live_but_not_ready",),
    ),
    Protection(
        "what was seen long ago is not ready",
        ("silent server",),
        (Edit("widebeam/health/health.py", "    if now - seen.at > OLD:\n", "    if False:\n"),),
        (VITALS + "it_lives_but_is_not_ready_and_says_why",),
    ),
    Protection(
        "a connector that is not well is not ready",
        ("part hangs",),
        (Edit("widebeam/health/health.py", "if status.state in _WELL and not status.cause:", "if True:"),),
        (VITALS + "it_lives_but_is_not_ready_and_says_why",),
    ),
    Protection(
        "a connector that nobody runs is not well",
        ("part fails",),
        (Edit("widebeam/status/judge.py", "if facts.signs is None or _fresh(facts) or", "if True or"),),
        (JUDGE + "it_is_told_by_name_with_the_way_on[nobody runs it]",),
    ),
    Protection(
        "what waits and does not get on is told",
        ("part hangs",),
        (Edit("widebeam/status/judge.py", "late = [one for one in facts.waits", "late = [one for one in ()"),),
        (JUDGE + "it_is_told_by_name_with_the_way_on[a record is not applied]",),
    ),
    Protection(
        "what a part fails at is told",
        ("part fails",),
        (Edit("widebeam/status/judge.py", "for trouble in one.troubles:\n", "for trouble in ():\n"),),
        (JUDGE + "it_is_told_by_name_with_the_way_on[a sink fails]",),
    ),
    Protection(
        "lag is what waits, not the last change",
        ("part hangs",),
        (Edit("widebeam/status/lag.py", "if None in ages or wal is None:", "if wal is None:"),),
        ("tests/widebeam/status/test_lag.py::test_a_record_that_cannot_be_looked_at_makes_it_unknown",),
    ),
    Protection(
        "requests for health are few at a time",
        ("part hangs",),
        (Edit("widebeam/health/health_port.py", "while len(self._open) > _MOST:", "while False:"),),
        (HEALTH_PORT + "two_hundred_silent_clients_take_few_threads_and_keep_nobody_from_an_answer",),
    ),
    Protection(
        "names are shown and not obeyed",
        ("odd texts",),
        (Edit("widebeam/terminal.py", "return _ESCAPED.sub(_shown, words)", "return words"),),
        ("tests/widebeam/test_terminal.py::test_control_characters_are_shown_as_escapes_and_what_is_a_letter_stays",),
    ),
    Protection(
        "a stranger's message is bounded",
        ("odd texts",),
        (Edit("cdc/record/assembler.py", "if event.size or ", "if "),),
        (
            "tests/cdc/record/test_assembler.py::test_a_message_of_ours_that_is_too_long_or_the_second_of_its_transaction_"
            "is_ignored_and_counted",
        ),
    ),
    Protection(
        "health answers by its code",
        ("part hangs",),
        (
            Edit("widebeam/health/health_port.py", "200 if health.live else 503", "200"),
            Edit("widebeam/health/health_port.py", "200 if health.ready else 503", "200"),
        ),
        (HEALTH_PORT + "it_answers_by_the_code_and_says_why",),
    ),
    Protection(
        "a silent client keeps nobody waiting",
        ("part hangs",),
        (
            Edit("widebeam/health/health_port.py", "BaseHTTPRequestHandler, Threading", "BaseHTTPRequestHandler, "),
            Edit("widebeam/health/health_port.py", "class _Server(ThreadingHTTPServer)", "class _Server(HTTPServer)"),
            Edit("widebeam/health/health_port.py", "    timeout = _PATIENCE\n", "    timeout = None\n"),
        ),
        (HEALTH_PORT + "a_client_that_says_nothing_keeps_nobody_from_an_answer",),
        "TimeoutError|urllib.error.URLError",
    ),
    Protection(
        "check: the health port",
        ("port in use",),
        (Edit("widebeam/health/health_port.py", "        yield _taken(", "        return  # _taken("),),
        (HEALTH_PORT + "a_port_that_is_taken_is_a_finding_and_no_run_begins",),
        ASSERTED + "|TypeError|ValueError: not enough values to unpack",
    ),
    Protection(
        "one fetches and copies",
        ("fetched at once",),
        (Edit("widebeam/lab/once.py", "fcntl.flock(lock, fcntl.LOCK_EX)", "pass"),),
        (LAB + "of_many_at_once_one_fetches_and_copies_and_the_others_wait",),
        ASSERTED + "|FileNotFoundError|FileExistsError|OSError",
    ),
    Protection(
        "half a file is not among the jars",
        ("fetched at once",),
        (Edit("widebeam/lab/jars.py", "dir=directory.parent,", "dir=directory,"),),
        (LAB + "what_ends_in_the_middle_of_a_fetch_leaves_nothing_among_the_jars",),
    ),
    Protection(
        "only what is locked is kept",
        ("fetched at once",),
        (Edit("widebeam/lab/jars.py", "if hashlib.sha256(content).hexdigest() != jar.sha256:", "if False:"),),
        (LAB + "a_jar_that_is_not_the_locked_one_is_refused_and_not_kept",),
    ),
)
