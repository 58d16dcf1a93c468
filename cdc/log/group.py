"""The consumer group of a connector's sinks, as the brokers keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from tenacity import Retrying, retry_if_exception, retry_if_result, stop_after_delay, wait_random_exponential

from cdc.refusal import asking

_REQUEST: Final = 30.0
"""Seconds for one request."""

_LAST_SIGN: Final = 20.0
"""Seconds in which members that were killed are given up by the brokers: twice the sinks' session time-out."""

_PASSES: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
"""Brokers that were just started, or have lost one of them, look for who keeps the group."""
_FOUND: Final = 30.0
"""Seconds until one is found."""

_UNKNOWN: Final = (KafkaError.GROUP_ID_NOT_FOUND, KafkaError.INVALID_GROUP_ID)


def members(client: Mapping[str, Any], group: str) -> int:
    """How many members the group has; 0 if there is no such group. `client` is librdkafka's configuration."""
    found = _asked(
        client, lambda admin: admin.describe_consumer_groups([group], request_timeout=_REQUEST)[group].result()
    )
    return 0 if found is None else len(found[0].members)


def awaited_empty(client: Mapping[str, Any], group: str, seconds: float = _LAST_SIGN) -> bool:
    """Wait until nobody is in the group; False if somebody still is after so long."""
    left = Retrying(
        retry=retry_if_result(bool),
        stop=stop_after_delay(seconds),
        wait=wait_random_exponential(0.1, max=1),
        retry_error_callback=lambda attempt: attempt.outcome and attempt.outcome.result(),
    )(members, client, group)
    return not left


def delete(client: Mapping[str, Any], group: str) -> bool:
    """Delete the group, which has no members; False if there was none."""
    done = _asked(client, lambda admin: admin.delete_consumer_groups([group], request_timeout=_REQUEST)[group].result())
    return done is not None


def _asked(client: Mapping[str, Any], ask: Callable[[AdminClient], Any]) -> tuple[Any] | None:
    """The answer; None if there is no such group. Asked again for a while by brokers that look for who keeps it."""
    again = Retrying(
        retry=retry_if_exception(lambda error: _code(error) in _PASSES), stop=stop_after_delay(_FOUND),
        wait=wait_random_exponential(0.05, max=1), reraise=True,
    )  # fmt: skip
    try:
        with asking(client) as admin:
            return (again(ask, admin),)
    except KafkaException as error:
        if _code(error) in _UNKNOWN:
            return None
        raise


def _code(error: BaseException) -> int | None:
    return error.args[0].code() if isinstance(error, KafkaException) else None
