from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phaita_loader.compat import load_model_and_tokenizer, load_pretrained_model, robust_model_download
from phaita_loader.errors import InitialisationError, ModelDownloadError, NotCached, Unreachable
from phaita_loader.hub import Hub
from phaita_loader.request import KINDS
from phaita_loader.retry import Transient
from tests.unit.fakes import AT_ONCE, FakeHub

PHAITAS = ["model_name", "model_type", "max_retries", "timeout", "allow_offline", "token"]


@pytest.mark.parametrize("function", [robust_model_download, load_model_and_tokenizer])
def test_phaitas_parameters_stand_in_phaitas_order(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert positional == PHAITAS
    assert [parameters[name].default for name in PHAITAS[1:]] == ["auto", 3, 300, False, None]


BAD = [
    ({"model_name": ""}, "repo_id"),
    ({"model_name": "../x"}, "repo_id"),
    ({"max_retries": 0}, "max_retries"),
    ({"max_retries": -1}, "max_retries"),
    ({"timeout": -5}, "timeout"),
    ({"timeout": True}, "timeout"),
    ({"deadline": 0}, "deadline"),
    ({"revision": "../.."}, "revision"),
]


@pytest.mark.parametrize(("numbers", "told"), BAD, ids=lambda value: str(value))
@pytest.mark.parametrize("function", [robust_model_download, load_model_and_tokenizer])
def test_bad_parameters(function: Callable[..., Any], numbers: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        function(**{"model_name": "gpt2", "cache_dir": tmp_path} | numbers)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [robust_model_download, load_model_and_tokenizer])
def test_an_unknown_type_lists_the_valid_ones(function: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model_type") as caught:
        function("gpt2", "causal", cache_dir=tmp_path)
    assert all(kind in str(caught.value) for kind in KINDS)


@pytest.mark.parametrize("kind", ["tokenizer", "config"])
def test_a_pair_needs_a_model(kind: str) -> None:
    with pytest.raises(ValueError, match="must be that of a model"):
        load_model_and_tokenizer("gpt2", kind)


def test_an_unknown_class_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="AutoModelForCausalLM"):
        load_pretrained_model("gpt2", "GPT2Model")


@pytest.mark.parametrize("given", [{"token": "hf_x"}, {"cache_dir": "/x"}], ids=str)
def test_a_hub_has_its_own_token_and_cache(hub: FakeHub, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give the token and the cache folder to the Hub"):
        robust_model_download("gpt2", hub=hub, **given)


@pytest.mark.parametrize("name", ["torch", "transformers"])
def test_what_is_not_installed_is_said_before_a_byte_is_fetched(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InitialisationError, match=name) as caught:
        robust_model_download("gpt2", hub=hub)
    assert "phaita-loader[models]" in caught.value.hint
    assert (hub.asked, hub.opened) == ([], [])


@pytest.mark.torch
@pytest.mark.parametrize("hub_is_given", [True, False])
def test_allow_offline_makes_no_request(hub: FakeHub, tmp_path: Path, hub_is_given: bool) -> None:
    given: dict[str, Any] = {"hub": hub} if hub_is_given else {"cache_dir": tmp_path}
    with pytest.raises(NotCached):
        robust_model_download("gpt2", "config", allow_offline=True, **given)
    assert hub.asked == []


@pytest.mark.torch
def test_the_names_of_the_errors_are_phaitas(hub: FakeHub) -> None:
    hub.listings.append(ModelDownloadError("no"))
    with pytest.raises(ModelDownloadError):
        robust_model_download("gpt2", "tokenizer", hub=hub, policy=AT_ONCE)


@pytest.mark.torch
@pytest.mark.parametrize("function", [robust_model_download, load_model_and_tokenizer])
def test_beside_a_policy_the_numbers_mean_nothing(hub: FakeHub, function: Callable[..., Any]) -> None:
    hub.listings.append(Transient("503"))
    with pytest.raises(Unreachable) as caught:
        function("gpt2", max_retries=5, timeout=-1, deadline=0, hub=hub, policy=AT_ONCE)
    assert len(caught.value.attempts) == 1


def test_a_hub_shows_no_token() -> None:
    assert "hf_secret" not in repr(Hub("https://hub.test", token="hf_secret"))
    assert "hf_secret" not in repr(Hub("https://user:hf_secret@hub.test"))


def test_unsafe_pickles_are_refused_before_a_request(hub: FakeHub) -> None:
    with pytest.raises(ValueError, match="weights_only=False"):
        robust_model_download("org/name", hub=hub, weights_only=False)
    assert hub.asked == []


def test_offline_by_transformers_own_word(hub: FakeHub) -> None:
    with pytest.raises((NotCached, InitialisationError)):
        robust_model_download("org/name", "config", hub=hub, local_files_only=True)
    assert hub.asked == []
