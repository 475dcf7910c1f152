"""The scenario files that we have are good, and bad ones are told by file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.reader import ScenarioError
from tests.faults.scenario import FOLDER, read, read_all
from tests.faults.schema import CONTENDERS, Expect, Lift, Toxic
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


def test_a_class_stands_together() -> None:
    families = [scenario.family for scenario in read_all()]
    assert len([one for one, before in zip(families, ["", *families], strict=False) if one != before]) == len(
        set(families)
    )


def test_a_scenario_that_asserts_figures_leaves_nothing_to_chance() -> None:
    for scenario in read_all():
        for toxic in scenario.toxics:
            assert toxic.toxicity in (0.0, 1.0), scenario.name
            # Jitter moves the time, not the bytes.
            assert not toxic.attributes.get("jitter") or scenario.expect.attempts is None, scenario.name
            assert not toxic.attributes.get("jitter") or scenario.expect.within is None, scenario.name


def test_a_deadline_is_kept_to_the_second() -> None:
    for scenario in read_all():
        deadline, within = scenario.policy.deadline, scenario.expect.within
        assert deadline is None or (within is not None and within <= deadline + 1.0), scenario.name


def test_our_loader_takes_part_in_every_scenario() -> None:
    assert [scenario.name for scenario in read_all() if "phaita_loader" not in scenario.contenders] == []


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
    title = "t"
    on = "cdn"
    repo = "gpt2"
    size = "medium"
    pinned = true
    files_only = true
    contenders = ["huggingface_hub", "phaita_loader"]
    prepare = "gated"
    processes = 8
    kill_at = 30_000_000
    disk = 20_000_000
    offline = true
    token = "hf_x"
    toxics = [{ type = "limit_data", stream = "upstream", toxicity = 0.0, attributes = { bytes = 5 } }]
    down = true
    lift = { after_seconds = 2, for_seconds = 1.5 }
    answers = [{ status = 503, times = 2 }, { status = 503, times = "always" }]
    policy = { attempts = 7, deadline = 3, backoff = { first = 0.1, cap = 2.0 } }
    cap = 9

    [expect]
    outcome = "Unreachable"
    attempts = 1
    transfer_ratio_max = 1.02
    within = 4.5
    requests_max = 0
    says = "no"
    """
    scenario = read(write(tmp_path, text))
    assert (scenario.name, scenario.repo, scenario.size, scenario.cap) == ("case", "gpt2", "medium", 9.0)
    assert (scenario.origins, scenario.prepare, scenario.down, scenario.drop_bytes) == (("cdn",), "gated", True, 5)
    assert (scenario.pinned, scenario.files_only, scenario.offline, scenario.token) == (True, True, True, "hf_x")
    assert (scenario.processes, scenario.kill_at, scenario.disk) == (8, 30_000_000, 20_000_000)
    assert scenario.contenders == ("phaita_loader", "huggingface_hub")
    assert scenario.toxics == (Toxic("limit_data", "upstream", 0.0, {"bytes": 5}),)
    assert scenario.lift == Lift(2.0, 1.5)
    assert scenario.answers == (Answer(status=503, times=2), Answer(status=503, times=None))
    assert (scenario.policy.attempts, scenario.policy.deadline, scenario.policy.stall) == (7, 3.0, 3.0)
    assert scenario.policy.backoff == {"first": 0.1, "cap": 2.0}
    assert scenario.expect == Expect("Unreachable", 1, 1.02, 4.5, 0, "no")


def test_what_is_not_said_is_plain(tmp_path: Path) -> None:
    scenario = read(write(tmp_path, PLAIN))
    assert (scenario.origins, scenario.contenders, scenario.processes) == (("hub", "cdn"), CONTENDERS, 1)
    assert (scenario.prepare, scenario.cached, scenario.kill_at, scenario.disk) == ("", False, None, None)


@pytest.mark.parametrize(
    ("lift", "gone"),
    [
        (Lift(after_seconds=1.0), [False, False, True, True, True, True]),
        (Lift(after_seconds=1.0, for_seconds=1.0), [False, False, True, True, False, True]),
    ],
)
def test_when_a_fault_is_away(lift: Lift, gone: list[bool]) -> None:
    assert [lift.gone(elapsed) for elapsed in (0.0, 0.9, 1.0, 1.9, 2.0, 3.5)] == gone


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
        (PLAIN + "lift = { for_seconds = 1 }", "case.toml: lift.after_seconds is missing"),
        (PLAIN + 'prepare = "sleepy"', "case.toml: prepare is one of missing, gated, private"),
        (PLAIN + 'contenders = ["curl"]', "case.toml: contenders is a list of phaita_loader, huggingface_hub"),
        (PLAIN + "contenders = []", "case.toml: contenders is a list of"),
        (PLAIN + "kill_at = 0", "case.toml: kill_at is some bytes"),
        (PLAIN + "token = ''", "case.toml: token is empty"),
        (
            PLAIN + 'answers = [{ status = 503, times = "twice" }]',
            "case.toml: answers[0] is no answer of the local Hub",
        ),
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


def test_what_is_survived_states_what_it_may_cost() -> None:
    for scenario in read_all():
        if scenario.expect.outcome == "loaded" and not scenario.cached and not scenario.offline:
            assert scenario.expect.transfer_ratio_max is not None, scenario.name
