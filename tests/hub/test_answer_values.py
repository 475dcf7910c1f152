"""Contradictory answers are refused."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import Any

import pytest

from tests.hub import Answer


def test_a_table_of_a_scenario_is_an_answer() -> None:
    table = tomllib.loads(
        'on = "cdn"\nstatus = 429\nretry_after = 2\nmatch = "safetensors"\nheaders = { RateLimit = "x" }'
    )
    answer = Answer(**table)
    assert (answer.kind, answer.times, answer.headers) == ("status", 1, {"RateLimit": "x"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.times = 2  # type: ignore[misc]  # it is frozen: that is the test


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "exactly one of status, portal, .*, gzip; given: none"),
        ({"status": 503, "cut": 1}, "given: status, cut"),
        ({"cut": 1, "flip": 1}, "given: cut, flip"),
        ({"status": 503, "on": "moon"}, "on is one of hub, cdn, both, not 'moon'"),
        ({"status": 503, "times": 0}, "times is positive"),
        ({"status": 99}, "status is between 200 and 599"),
        ({"status": 503, "match": "("}, "match is no regular expression"),
        ({"status": 503, "skip": -1}, "skip is not negative"),
        ({"status": 429, "retry_after": 1, "retry_date": 1}, "not both"),
        ({"cut": 1, "retry_after": 1}, "retry_after only go with status"),
        ({"portal": 200, "body": "x"}, "body only go with status"),
        ({"delay": 1.0, "headers": {"A": "b"}}, "headers only go with status"),
        ({"cut": 1, "after": 1}, "after only goes with pause and drip"),
        ({"cut": 1, "declared": "file"}, "declared only goes with long"),
        ({"long": 1, "declared": "half"}, "declared is one of all, file, nothing, not 'half'"),
        ({"long": 0}, "long is positive, not 0"),
        ({"drip": 0}, "drip is positive"),
        ({"slow_headers": -1}, "slow_headers is positive"),
        ({"reset": True}, "reset is a whole number"),
        ({"gzip": 1}, "gzip is true or false, not 1"),
        ({"expired": True, "on": "hub"}, "only the CDN"),
        ({"portal": 404}, "portal is 200 or 302"),
        ({"cut": -1}, "cut is not negative"),
        ({"flip": -1}, "flip is not negative"),
        ({"pause": -0.5}, "pause is not negative"),
        ({"delay": -1}, "delay is not negative"),
        ({"status": "503"}, "status is a whole number, not '503'"),
        ({"cut": 1.5}, "cut is a whole number"),
        ({"delay": "1"}, "delay is in seconds"),
    ],
)
def test_contradictory_answers_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Answer(**table)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ValueError, match="colour"):
        Answer.from_table({"status": 503, "colour": "red"})
    assert Answer.from_table({"cut": 0}).kind == "cut"
