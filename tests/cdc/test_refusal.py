"""Clients that ask brokers: let go of in our own thread."""

from __future__ import annotations

import pytest

from cdc.refusal import asking
from widebeam.status.log_view import LogView

NOBODY = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def test_a_client_that_has_asked_is_ended_and_not_left_to_the_garbage_collector():
    with asking(NOBODY) as admin:
        admin.poll(0)
    with pytest.raises(RuntimeError):
        admin.poll(0)


def test_so_is_that_of_who_looks_on(monkeypatch):
    view = LogView(NOBODY, "t")
    monkeypatch.setattr("widebeam.status.log_view._SECONDS", 0.01)
    with pytest.raises(Exception, match=r"_TRANSPORT|_TIMED_OUT|all broker connections are down|Timed out"):
        view.ends()
    assert view._admin is not None
    admin = view._admin.client
    view.close()
    with pytest.raises(RuntimeError):
        admin.poll(0)
