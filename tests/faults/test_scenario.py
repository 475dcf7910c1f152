"""The scenario files that we have are good, and bad ones are told by file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.reader import ScenarioError
from tests.faults.scenario import FOLDER, Expect, Lift, Toxic, read, read_all
from tests.hub import Answer

EXPECT = 'expect = { outcome = "loaded" }\n'
PLAIN = 'title = "t"\n' + EXPECT


def write(folder: Path, text: str) -> Path:
    path = folder / "case.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_scenarios_are_read_and_clean_comes_first() -> None:
    scenarios = read_all()
    assert scenarios[0].name == "clean"
    assert {scenario.name for scenario in scenarios} == {path.stem for path in FOLDER.glob("*.toml")}


def test_a_scenario_that_asserts_figures_leaves_nothing_to_chance() -> None:
    for scenario in read_all():
        for toxic in scenario.toxics:
            assert toxic.toxicity in (0.0, 1.0), scenario.name
            figures = scenario.expect.attempts, scenario.expect.transfer_ratio_max, scenario.expect.within
            assert not toxic.attributes.get("jitter") or figures == (None, None, None), scenario.name


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
    title = "t"
    on = "cdn"
    repo = "gpt2"
    size = "medium"
    prepare = "gated"
    toxics = [{ type = "limit_data", stream = "upstream", toxicity = 0.0, attributes = { bytes = 5 } }]
    down = true
    lift = { after_drops = 2 }
    answers = [{ status = 503, times = 2 }]
    policy = { attempts = 7, deadline = 3, backoff = { first = 0.1, cap = 2.0 } }
    cap = 9
    expect = { outcome = "Unreachable", attempts = 1, transfer_ratio_max = 1.02, within = 4.5 }
    """
    scenario = read(write(tmp_path, text))
    assert (scenario.name, scenario.repo, scenario.size, scenario.cap) == ("case", "gpt2", "medium", 9.0)
    assert (scenario.origins, scenario.prepare, scenario.down, scenario.drop_bytes) == (("cdn",), "gated", True, 5)
    assert scenario.toxics == (Toxic("limit_data", "upstream", 0.0, {"bytes": 5}),)
    assert scenario.lift == Lift(after_drops=2)
    assert scenario.answers == (Answer(status=503, times=2),)
    assert (scenario.policy.attempts, scenario.policy.deadline, scenario.policy.stall) == (7, 3.0, 3.0)
    assert scenario.policy.backoff == {"first": 0.1, "cap": 2.0}
    assert scenario.expect == Expect("Unreachable", 1, 1.02, 4.5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title = ", "case.toml: not TOML"),
        (EXPECT, "case.toml: title is missing"),
        ('title = "t"', "case.toml: expect is missing"),
        ('title = "t"\nexpect = { attempts = 1 }', "case.toml: expect.outcome is missing"),
        (PLAIN + "toxic = []", "case.toml: unknown key toxic"),
        (PLAIN + 'toxics = [{ type = "latency", rate = 1 }]', "case.toml: unknown key toxics[0].rate"),
        (PLAIN + 'toxics = [{ type = "limit_data" }]', "case.toml: toxics[0].attributes.bytes is missing"),
        (PLAIN + 'toxics = ["latency"]', "case.toml: toxics is a list of tables"),
        (PLAIN + "policy = { patience = 1 }", "case.toml: unknown key policy.patience"),
        (PLAIN + "policy = { attempts = true }", "case.toml: policy.attempts has the wrong type: True"),
        (PLAIN + "policy = { deadline = -1 }", "case.toml: policy.deadline is 0 or more, not -1"),
        (PLAIN + 'on = "moon"', "case.toml: on is one of both, hub, cdn, not 'moon'"),
        (PLAIN + "down = 1", "case.toml: down has the wrong type: 1"),
        (PLAIN + "answers = [{ status = 42 }]", "case.toml: answers[0] is no answer of the local Hub"),
        (PLAIN + "answers = [{ colour = 1 }]", "case.toml: answers[0] is no answer of the local Hub"),
        (PLAIN + "lift = { after_drops = 1, after_seconds = 1 }", "case.toml: lift needs after_seconds or after_drops"),
        (PLAIN + "lift = { after_drops = 1 }", "case.toml: lift.after_drops counts what limit_data ends"),
    ],
)
def test_what_can_not_be_meant_is_told_by_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(told)):
        read(write(tmp_path, text))


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    with pytest.raises(ScenarioError, match="can't be read"):
        read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="not TOML"):
        read(path)
    with pytest.raises(ScenarioError, match="no scenario"):
        read_all(tmp_path / "nowhere")
