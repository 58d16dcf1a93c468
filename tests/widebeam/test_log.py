"""The log: one line an event, and no secret in it."""

from __future__ import annotations

import logging

import pytest

from widebeam.log import OneLine, struck_out


@pytest.mark.parametrize(
    "text",
    [
        "host=h password=hunter2 dbname=d",
        "password = 'hunter2 x'",
        "postgresql://u:hunter2@h/d",
        '{"sasl.password": "hunter2"}',
        "PASSWORD=hunter2",
        "host=h sslpassword=hunter2 port=5",
        r"password='it\'s hunter2'",
        r"password=x\ hunter2",
        r'{"ssl.key.password": "a \"hunter2\""}',
        "postgresql://h/d?sslpassword=hunter2&port=5",
        "oauth_client_secret=hunter2",
        "scram_client_key=hunter2",
        "ssl.key.pem: -----BEGIN PRIVATE KEY----- | hunter2 | -----END PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_password_is_struck_out(text):
    assert "hunter2" not in struck_out(text)


@pytest.mark.parametrize(
    "text", ["host=h dbname=d", "no password supplied", "postgresql://u@h/d", "-----BEGIN CERTIFICATE-----"]
)
def test_other_text_stays_as_it_is(text):
    assert struck_out(text) == text


def test_a_record_of_several_lines_is_one_line_with_its_part():
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "first\nsecond %s", ("third",), None)
    line = OneLine("sink 1").format(record)
    assert line.endswith("Z sink 1 WARNING first | second third")
    assert "\n" not in line
