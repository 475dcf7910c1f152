"""`python -m phaita.training`, as far as it needs no model."""

from __future__ import annotations

import pytest

from phaita.training.__main__ import main


def test_the_help_suffices(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for option in ("--encoder", "--config", "--epochs", "--samples", "--seeds", "--out", "--evaluate", "--device"):
        assert option in told
    assert "Not a medical device" in told
    assert "HF_ENDPOINT" in told
    assert "OUT/checkpoint" in told


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--epochs", "0"], "must be 1 or more, got 0"),
        (["--samples", "-3"], "must be 1 or more, got -3"),
        (["--seeds", "1", "-1"], "must be 0 or more, got -1"),
        (["--epochs", "many"], "invalid"),
        (["--no-such"], "unrecognized"),
    ],
)
def test_what_makes_no_sense_is_refused(capsys, arguments, reason):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_settings_that_cannot_be_read_are_a_sentence(capsys, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("training: {oops: 1}\n", encoding="utf-8")
    assert main(["--config", str(path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"phaita.training: {path}")
    assert "oops" in said
