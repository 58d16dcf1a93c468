"""What is read out of a jsonb column."""

from __future__ import annotations

import json

import pytest

from sink.mapping import labels
from sink.mapping.labels import labels_of


def test_texts_stay_as_they_are_numbers_as_written_and_the_rest_is_json_in_one_form():
    text = '{"t": "a\\tb", "n": 0.50, "big": 12345678901234567890, "none": null, "in": {"b": "x", "a": [true]}}'
    assert labels_of(text) == {
        "t": "a\tb",
        "n": "0.50",
        "big": "12345678901234567890",
        "none": None,
        "in": '{"a":[true],"b":"x"}',
    }


@pytest.mark.parametrize(("text", "said"), [("[1]", "'[1]' is no JSON object"), ('{"a"', "is no JSON")])
def test_what_is_no_object_has_no_labels(text, said):
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        labels_of(text)


def test_what_is_remembered_of_labels_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(labels, "MOST_BYTES", 100_000)
    labels._known.clear()
    for n in range(300):
        assert labels_of(json.dumps({"series": f"{n}" * 1_000}))["series"] == f"{n}" * 1_000
        assert sum(map(len, labels._known._labels)) < 100_000
    assert labels_of(json.dumps({"series": "x" * 200_000})) == {"series": "x" * 200_000}
    labels._known.clear()
