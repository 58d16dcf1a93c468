"""When brokers will not have us: a wrong password, or a certificate that cannot be trusted.

librdkafka takes that for one more reason to connect again, and goes on for ever; what it tells is a time-out or
nothing at all. Here it becomes an error that says why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

_STATE: Final = re.compile(r"\s*\(after \d+ms in state \w+\)")
_UNTRUSTED: Final = "certificate verify failed"
"""Other troubles of TLS, such as a connection reset in its handshake, pass."""

_QUIET: Final = logging.getLogger("widebeam.kafka.quiet")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


class BrokerRefused(Exception):
    """No broker is going to talk to us like this."""


def refusal(error: KafkaError) -> BrokerRefused | None:
    """What an error of librdkafka's error_cb says about us; None if it is one that passes."""
    said = _STATE.sub("", error.str())
    if error.code() == KafkaError._AUTHENTICATION:
        way_out = "see sasl.username and sasl.mechanism in [kafka] client, and the secret in WIDEBEAM_KAFKA__CLIENT"
    elif error.code() == KafkaError._SSL and _UNTRUSTED in said:
        way_out = "see ssl.ca.location in [kafka] client"
    else:
        return None
    return BrokerRefused(f"Kafka refuses the connection: {said}; {way_out}")


class Admin:
    """An admin client that remembers why the brokers refuse us, until it is closed.

    It has to be: one that the garbage collector finds may be found in a thread of librdkafka's own, where an answer
    makes objects of Python, and to end a client there aborts the process.
    """

    def __init__(self, client: Mapping[str, Any]) -> None:
        heard: list[BrokerRefused] = []

        def hear(error: KafkaError) -> None:  # it knows nothing of the client, which else would never be let go
            if (refused := refusal(error)) is not None:
                heard[:] = [refused]

        settings: dict[str, Any] = {**client, "error_cb": hear}
        self.client = AdminClient(settings, logger=_QUIET)
        self._heard = heard

    def close(self) -> None:
        """Let go of the brokers."""
        self.client.__exit__(None, None, None)

    def why(self, error: Exception) -> Exception:
        """The reason for which a request has failed: the error itself, unless the brokers refuse us."""
        self._heard.clear()
        self.client.poll(0)  # serves error_cb
        return self._heard[0] if self._heard else error


@contextmanager
def asking(client: Mapping[str, Any]) -> Iterator[AdminClient]:
    """An admin client; a request that failed because the brokers refuse us raises BrokerRefused."""
    admin = Admin(client)
    try:
        yield admin.client
    except (KafkaException, TimeoutError) as error:
        raise admin.why(error) from error
    finally:
        admin.close()
