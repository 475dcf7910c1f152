"""Environment variables, in a process that reads them as it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.wires.support import NAME, Serve, fresh_process, repo

PLACES = [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")]


@pytest.mark.parametrize(("variable", "below"), PLACES)
def test_the_cache_lies_where_the_variables_say(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: Any, below: Any
) -> None:
    hub = serve(repo(1000))
    monkeypatch.delenv("HF_HOME")
    code = f"from phaita_loader import fetch\nprint(fetch({NAME!r}).path)"
    with fresh_process(code, HF_ENDPOINT=hub.url, **{variable: str(tmp_path / "there")}) as process:
        out, error = process.communicate(timeout=60)
    assert out.startswith(str(tmp_path / "there" / below / "models--org--name" / "snapshots")), error


def test_hf_token_opens_what_it_opens(serve: Serve) -> None:
    hub = serve(repo(1000, private=True), tokens={"hf_x": [NAME]})
    code = f"from phaita_loader import fetch\nprint(fetch({NAME!r}).commit)"
    with fresh_process(code, HF_ENDPOINT=hub.url, HF_TOKEN="hf_x") as process:
        out, error = process.communicate(timeout=60)
    assert out.strip() == hub.repos[NAME].shas[0], error
