"""The consumer group of a connector's sinks, as the brokers keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_random_exponential

from cdc.refusal import asking

_REQUEST: Final = 30.0
"""Seconds for one request."""

_LAST_SIGN: Final = 20.0
"""Seconds in which members that were killed are given up by the brokers: twice the sinks' session time-out."""

_UNKNOWN: Final = (KafkaError.GROUP_ID_NOT_FOUND, KafkaError.INVALID_GROUP_ID)


def members(client: Mapping[str, Any], group: str) -> int:
    """How many members the group has; 0 if there is no such group. `client` is librdkafka's configuration."""
    try:
        with asking(client) as admin:
            described = admin.describe_consumer_groups([group], request_timeout=_REQUEST)[group].result()
    except KafkaException as error:
        if error.args[0].code() in _UNKNOWN:
            return 0
        raise
    return len(described.members)


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
    try:
        with asking(client) as admin:
            admin.delete_consumer_groups([group], request_timeout=_REQUEST)[group].result()
    except KafkaException as error:
        if error.args[0].code() in _UNKNOWN:
            return False
        raise
    return True
