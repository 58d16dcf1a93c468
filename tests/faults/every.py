"""Every fault that a running pipeline recovers from by itself."""

from __future__ import annotations

from typing import Final

from tests.faults import of_network, of_processes, of_servers, of_storage, of_workload
from tests.faults.fault import Fault

FAULTS: Final = (
    Fault("capture is killed", of_processes.kill_capture, "capture was ended by SIGKILL.*; it starts again in"),
    Fault("a sink is killed", of_processes.kill_sink, "sink . was ended by SIGKILL.*; it starts again in"),
    Fault(
        "capture stands still beyond wal_sender_timeout",
        of_processes.stop_capture,
        "capture ended with 75",
        exhaustive=True,
    ),
    Fault(
        "the slot is active for an old PID",
        of_processes.kill_capture_unnoticed,
        "capture was ended by SIGKILL.*; it starts again in",  # and stands by, if it is quicker than the server
        exhaustive=True,
    ),
    Fault(
        "of two captures one is killed",
        of_processes.kill_one_of_two_captures,
        "standing by: replication slot",
        exhaustive=True,
    ),
    Fault("a storm of rebalances", of_processes.storm_of_rebalances, exhaustive=True),
    Fault("a sink comes back from the dead", of_processes.zombie_sink, exhaustive=True),
    Fault("the group's offsets are reset by hand", of_processes.reset_offsets, exhaustive=True),
    Fault("the clock jumps", of_processes.jump_the_clock, exhaustive=True),
    Fault(
        "the walsender is terminated",
        of_servers.terminate_walsender,
        "capture ended with 75.*terminating connection due to administrator command",
    ),
    Fault("the source crashes", of_servers.restart_source, "capture ended with 75"),
    Fault("the target crashes", of_servers.restart_target),
    Fault("the broker is shut down", of_servers.restart_broker, exhaustive=True),
    Fault("the broker crashes", of_servers.kill_broker),
    Fault("the broker stands still and a delivery times out", of_servers.stop_broker, "_MSG_TIMED_OUT"),
    Fault("a session is terminated in mid-COPY", of_servers.terminate_in_copy, "terminating connection"),
    Fault("statements time out", of_servers.cancel_statements, "canceling statement", exhaustive=True),
    Fault("serialisation fails", of_servers.fail_serialisation, "could not serialize", exhaustive=True),
    Fault("a deadlock", of_servers.deadlock, "deadlock detected"),
    Fault("a reader is in the way of a new column", of_servers.reader_in_the_way),
    Fault("connections are exhausted", of_servers.exhaust_connections, "too many clients"),
    Fault("the source's disk is full", of_storage.fill_source, needs="small disk"),
    Fault("the target's disk is full", of_storage.fill_target, needs="small disk"),
    Fault("connections with the servers are reset", of_network.cut("source", "target", "kafka"), exhaustive=True),
    Fault("bytes come one by one", of_network.one_byte_at_a_time("source", "target", "kafka"), exhaustive=True),
    Fault("the lines are slow", of_network.slow("source", "target", "kafka"), exhaustive=True),
    Fault("packets are lost", of_network.lossy("source", "target", "kafka"), needs="lost packets", exhaustive=True),
    Fault("the target cannot be reached", of_network.down("target", "connection"), "connection"),
    Fault("nothing comes from the source any more", of_network.one_way("down"), "has not answered for"),
    Fault("the source does not hear us", of_network.one_way("up"), "capture ended with 75", exhaustive=True),
    Fault("a large transaction", of_workload.large_transaction, exhaustive=True),
    Fault("aborted subtransactions", of_workload.aborted_subtransactions, exhaustive=True),
    Fault("two-phase commit", of_workload.two_phases, exhaustive=True),
)
