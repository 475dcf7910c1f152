"""From a request to a model: every kind, on replicas of real architectures."""

from __future__ import annotations

import dataclasses
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from phaita_loader import (
    InitialisationError,
    ModelRequest,
    NotCached,
    Unreachable,
    fetch,
    load,
    load_model_and_tokenizer,
    load_pretrained_model,
    robust_model_download,
)
from tests.hub import Answer, Commit, Repo
from tests.wires.support import NAME, QUICK, Connect, Serve, fresh_process

DEBERTA = "microsoft/deberta-v3-base"
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.2"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def assert_same_model(torch: ModuleType, one: Any, other: Any) -> None:
    assert type(one) is type(other)
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name


KINDS = [
    (DEBERTA, "auto", "AutoModel"),
    (DEBERTA, "masked_lm", "AutoModelForMaskedLM"),
    ("bert-base-uncased", "masked_lm", "AutoModelForMaskedLM"),
    ("emilyalsentzer/Bio_ClinicalBERT", "masked_lm", "AutoModelForMaskedLM"),
    ("gpt2", "causal_lm", "AutoModelForCausalLM"),
    (MISTRAL, "causal_lm", "AutoModelForCausalLM"),
]


@pytest.mark.torch
@pytest.mark.parametrize(("name", "kind", "auto"), KINDS)
def test_a_model_is_tensor_for_tensor_that_of_transformers(
    serve_replicas: Serve, client: Connect, torch: ModuleType, transformers: ModuleType, name: Any, kind: Any, auto: Any
) -> None:
    hub = client(serve_replicas(name))
    model = robust_model_download(name, kind, hub=hub, policy=QUICK)
    assert not model.training
    path = fetch(ModelRequest(name, kind=kind), hub=hub.as_offline()).path
    assert_same_model(torch, model, getattr(transformers, auto).from_pretrained(path, local_files_only=True))


@pytest.mark.torch
def test_a_sharded_model_comes_with_its_index(serve_replicas: Serve, client: Connect, torch: ModuleType) -> None:
    hub = serve_replicas(MISTRAL)
    loaded = load(ModelRequest(MISTRAL, kind="causal_lm"), hub=client(hub), policy=QUICK)
    shards = [file.path for file in loaded.snapshot.files if file.path.startswith("model-")]
    assert len(shards) > 1
    assert "model.safetensors.index.json" in {file.path for file in loaded.snapshot.files}
    assert loaded.model.dtype == torch.bfloat16
    tokens = loaded.tokenizer("chest pain", return_tensors="pt")
    assert loaded.model(**tokens).logits.isfinite().all()


@pytest.mark.torch
def test_a_classifier_has_the_labels_that_were_asked_for(serve_replicas: Serve, client: Connect) -> None:
    """Its head is not in the repo: transformers draws it at random, so there is nothing to compare."""
    model = robust_model_download(
        DEBERTA, "sequence_classification", hub=client(serve_replicas(DEBERTA)), policy=QUICK, num_labels=10
    )
    assert model.classifier.out_features == 10


@pytest.mark.torch
def test_a_commit_with_pickled_weights_only_loads(
    serve_replicas: Serve, client: Connect, torch: ModuleType, transformers: ModuleType
) -> None:
    hub = client(serve_replicas(DEBERTA))
    loaded = load(ModelRequest(DEBERTA, revision="v1"), hub=hub, policy=QUICK)
    assert "pytorch_model.bin" in {file.path for file in loaded.snapshot.files}
    assert_same_model(torch, loaded.model, transformers.AutoModel.from_pretrained(loaded.snapshot.path))


@pytest.mark.torch
def test_tokenizer_and_config_come_without_weights(
    serve_replicas: Serve, client: Connect, transformers: ModuleType
) -> None:
    hub = serve_replicas(DEBERTA)
    tokenizer = robust_model_download(DEBERTA, "tokenizer", hub=client(hub), policy=QUICK)
    config = robust_model_download(DEBERTA, "config", hub=client(hub), policy=QUICK)
    assert tokenizer.decode(tokenizer("fever and cough").input_ids, skip_special_tokens=True) == "fever and cough"
    assert config.model_type == "deberta-v2"
    assert not [seen for seen in hub.seen if "safetensors" in seen.path + seen.query]


@pytest.mark.torch
def test_model_and_tokenizer_are_of_one_commit(serve_replicas: Serve, client: Connect, torch: ModuleType) -> None:
    model, tokenizer = load_model_and_tokenizer("gpt2", "causal_lm", hub=client(serve_replicas("gpt2")), policy=QUICK)
    assert model(**tokenizer("fever", return_tensors="pt")).logits.shape[-1] >= len(tokenizer)


@pytest.mark.torch
def test_a_class_name_will_do(serve_replicas: Serve, client: Connect, transformers: ModuleType) -> None:
    hub = client(serve_replicas("gpt2"))
    model = load_pretrained_model("gpt2", "AutoModelForCausalLM", hub=hub, policy=QUICK)
    assert isinstance(model, transformers.GPT2LMHeadModel)
    with pytest.raises(ValueError, match="AutoModelForCausalLM"):
        load_pretrained_model("gpt2", "GPT2LMHeadModel", hub=hub)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["bfloat16", "torch"])
def test_keywords_reach_from_pretrained(serve_replicas: Serve, client: Connect, torch: ModuleType, dtype: str) -> None:
    wanted = torch.bfloat16 if dtype == "torch" else dtype
    hub = client(serve_replicas("gpt2"))
    kwargs: dict[str, Any] = {"dtype": wanted, "attn_implementation": "eager", "output_hidden_states": True}
    model = robust_model_download("gpt2", "causal_lm", hub=hub, policy=QUICK, **kwargs)
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"
    assert model.config.output_hidden_states


@pytest.mark.torch
def test_keywords_that_nothing_knows_are_an_initialisation_error(serve_replicas: Serve, client: Connect) -> None:
    with pytest.raises(InitialisationError, match="no_such_thing"):
        robust_model_download("gpt2", "causal_lm", hub=client(serve_replicas("gpt2")), policy=QUICK, no_such_thing=1)


@pytest.mark.torch
def test_a_model_of_another_kind_is_an_initialisation_error(serve_replicas: Serve, client: Connect) -> None:
    """A causal model for which transformers has no masked class: the bytes are right, the request is not."""
    with pytest.raises(InitialisationError):
        robust_model_download("gpt2", "masked_lm", hub=client(serve_replicas("gpt2")), policy=QUICK)


@pytest.mark.torch
@pytest.mark.parametrize("name", [DEBERTA, MISTRAL])
def test_initialisation_makes_no_request(serve_replicas: Serve, client: Connect, connections: Any, name: Any) -> None:
    """Without offline mode, from a cache that is complete: not one connection, to whatever host."""
    hub = client(serve_replicas(name))
    kind = "causal_lm" if name == MISTRAL else "auto"
    commit = fetch(ModelRequest(name, kind=kind), hub=hub, policy=QUICK).commit
    with connections() as made:
        model, tokenizer = load_model_and_tokenizer(name, kind, hub=hub, revision=commit)
    assert model is not None
    assert tokenizer is not None
    assert made == []


@pytest.mark.torch
def test_allow_offline_makes_no_request(serve_replicas: Serve, client: Connect) -> None:
    hub = serve_replicas("gpt2")
    with pytest.raises(NotCached):
        robust_model_download("gpt2", "config", allow_offline=True, hub=client(hub))
    assert not hub.seen
    robust_model_download("gpt2", "config", hub=client(hub), policy=QUICK)
    hub.clear()
    assert robust_model_download("gpt2", "config", allow_offline=True, hub=client(hub)).model_type == "gpt2"
    assert not hub.seen


@pytest.mark.torch
def test_transformers_itself_finds_the_cache(
    serve_replicas: Serve, client: Connect, cache: Path, torch: ModuleType, transformers: ModuleType
) -> None:
    name = DEBERTA  # bert's pooler is not in its repo: no two loads of it are the same
    loaded = load(name, hub=client(serve_replicas(name)), policy=QUICK)
    theirs = transformers.AutoModel.from_pretrained(name, cache_dir=cache, local_files_only=True)
    assert_same_model(torch, loaded.model, theirs)
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, cache_dir=cache, local_files_only=True)
    assert tokenizer("fever").input_ids == loaded.tokenizer("fever").input_ids


@pytest.mark.torch
def test_real_weights_know_what_is_alike(serve_replicas: Serve, client: Connect, torch: ModuleType) -> None:
    loaded = load(MINILM, hub=client(serve_replicas(MINILM)), policy=QUICK)
    sentences = ["The patient is short of breath.", "He has trouble breathing.", "The stock market fell today."]
    tokens = loaded.tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = loaded.model(**tokens).last_hidden_state  # [sentence, token, feature]
    mask = tokens.attention_mask.unsqueeze(-1)
    means = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    alike, apart = means[0] @ means[1], means[0] @ means[2]
    assert alike > 0.5 > 0.2 > apart


def test_an_unknown_kind_is_a_value_error_before_any_request(serve: Serve, client: Connect) -> None:
    hub = serve()
    with pytest.raises(ValueError, match="sequence_classification"):
        robust_model_download("gpt2", "image_to_text", hub=client(hub))
    assert not hub.seen


def test_a_missing_extra_is_named_before_any_request(serve: Serve, cache: Path) -> None:
    hub = serve()
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Blocked(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name == 'transformers' else PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path = [Blocked if finder is PathFinder else finder for finder in sys.meta_path]\n"
        "from phaita_loader import *\n"
        f"try: robust_model_download('gpt2', hub=Hub({hub.url!r}, token=False, cache_dir={str(cache)!r}))\n"
        "except InitialisationError as error: print(error)\n"
    )
    with fresh_process(code) as process:
        told = process.communicate(timeout=60)
    assert "transformers" in told[0], told
    assert "phaita-loader[models]" in told[0]
    assert not hub.seen


@pytest.mark.torch
def test_a_pickle_that_would_run_code_does_not(
    serve: Serve, client: Connect, torch: ModuleType, tmp_path: Path
) -> None:
    mark, weights = tmp_path / "ran", tmp_path / "pytorch_model.bin"

    class Runs:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    torch.save({"weight": Runs()}, weights)
    files = import_module("tests.hub.replicas").replica(DEBERTA).files("v1")
    served = Repo(NAME, [Commit({"config.json": files["config.json"].read(), "pytorch_model.bin": weights})])
    with pytest.raises(InitialisationError):
        load(NAME, hub=client(serve(served)), policy=QUICK, tokenizer=False)
    assert not mark.exists()


@pytest.mark.torch
@pytest.mark.parametrize("before", ["a call that broke off", "another revision"])
def test_transformers_itself_finds_a_cache_with_a_history(
    serve_replicas: Serve, client: Connect, cache: Path, torch: ModuleType, transformers: ModuleType, before: str
) -> None:
    served = serve_replicas(DEBERTA)
    hub = client(served)
    if before == "another revision":
        fetch(ModelRequest(DEBERTA, revision="v1"), hub=hub, policy=QUICK)
    else:
        served.answer(Answer(on="cdn", match="model.safetensors", cut=50_000))
        served.answer(Answer(on="cdn", match="model.safetensors", status=503, times=None, skip=1))
        with pytest.raises(Unreachable):
            fetch(DEBERTA, hub=hub, policy=dataclasses.replace(QUICK, attempts=1))
        served.clear()
    loaded = load(DEBERTA, hub=hub, policy=QUICK, tokenizer=False)
    theirs = transformers.AutoModel.from_pretrained(DEBERTA, cache_dir=cache, local_files_only=True)
    assert_same_model(torch, loaded.model, theirs)


@pytest.mark.torch
def test_imports_begin_when_bytes_are_waited_for(serve_replicas: Serve, cache: Path) -> None:
    """In a fresh process, and not where all is cached."""
    code = (
        "import sys, threading\n"
        "from phaita_loader import Hub, load\n"
        "seen = []\n"
        "def listen(event):\n"
        "    if type(event).__name__ == 'Plan':\n"
        "        seen.append('phaita-loader-imports' in {thread.name for thread in threading.enumerate()})\n"
        f"hub = Hub({serve_replicas('gpt2').url!r}, token=False, cache_dir={str(cache)!r})\n"
        "begun = 'torch' in sys.modules\n"
        "loaded = load('gpt2', hub=hub, listen=listen, tokenizer=False)\n"
        "load('gpt2', hub=hub, listen=listen, tokenizer=False)\n"
        "print(begun, seen, loaded.path, list(loaded.timings))\n"
    )
    with fresh_process(code) as process:
        out, err = process.communicate(timeout=120)
    assert out.split("\n")[0] == "False [True] fast ['fetch', 'verify', 'import', 'initialise']", err


@pytest.mark.torch
def test_a_device_that_is_not_there(serve_replicas: Serve, client: Connect) -> None:
    hub = client(serve_replicas("gpt2"))
    with pytest.raises(InitialisationError, match="does not go to 'cuda:99'"):
        load(ModelRequest("gpt2", device="cuda:99"), hub=hub, policy=QUICK, tokenizer=False)


@pytest.mark.cuda
@pytest.mark.torch
def test_a_model_on_a_cuda_device(serve_replicas: Serve, client: Connect, torch: ModuleType) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    hub = client(serve_replicas("gpt2"))
    there = load(ModelRequest("gpt2", device="cuda"), hub=hub, policy=QUICK, tokenizer=False).model
    here = load("gpt2", hub=hub, policy=QUICK, tokenizer=False).model
    assert {parameter.device.type for parameter in there.parameters()} == {"cuda"}
    assert_same_model(torch, there.to("cpu"), here)


@pytest.mark.torch
@pytest.mark.parametrize("name", [DEBERTA, MISTRAL])
def test_the_ring_brings_the_same_model(serve_replicas: Serve, client: Connect, torch: ModuleType, name: Any) -> None:
    kind = "causal_lm" if name == MISTRAL else "auto"
    hub = client(serve_replicas(name))
    mapped = load(ModelRequest(name, kind=kind), hub=hub, policy=QUICK, tokenizer=False)
    ringed = load(ModelRequest(name, kind=kind), hub=hub, policy=QUICK, tokenizer=False, engine="ring")
    assert mapped.path == ringed.path == "fast"
    assert (mapped.engine, ringed.engine) == ("mapping", "ring")
    assert_same_model(torch, mapped.model, ringed.model)


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["warp", "instanttensor"])
def test_an_engine_that_can_t_be_used_is_a_value_error_before_any_request(
    serve_replicas: Serve, client: Connect, engine: Any
) -> None:
    hub = serve_replicas("gpt2")
    with pytest.raises(ValueError, match="ring"):
        load("gpt2", hub=client(hub), engine=engine)
    assert not hub.seen


@pytest.mark.parametrize(
    ("keyword", "owner"),
    [
        ({"revision": "v1"}, "ModelRequest"),
        ({"device": "cuda"}, "ModelRequest"),
        ({"trust_remote_code": True}, "ModelRequest"),
        ({"token": "hf_secret"}, "Hub"),
        ({"local_files_only": True}, "Hub"),
        ({"deadline": 3.0}, "Policy"),
    ],
    ids=str,
)
def test_a_keyword_of_another_place_is_a_value_error_before_any_request(
    serve: Serve, client: Connect, keyword: Any, owner: str
) -> None:
    """transformers would take it, and load main all the same."""
    hub = serve()
    with pytest.raises(ValueError, match=owner) as refused:
        load("gpt2", hub=client(hub), **keyword)
    assert "secret" not in str(refused.value)
    assert not hub.seen


@pytest.mark.torch
def test_force_download_trusts_nothing_that_is_cached(serve_replicas: Serve, client: Connect) -> None:
    """Bits that rotted without a trace: only a digest finds them."""
    hub = client(serve_replicas("gpt2"))
    blob = (fetch(ModelRequest("gpt2", kind="config"), hub=hub, policy=QUICK).path / "config.json").resolve()
    right, before = blob.read_bytes(), blob.stat()
    blob.write_bytes(right.replace(b"gpt2", b"gtp2"))
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert robust_model_download("gpt2", "config", hub=hub, policy=QUICK, force_download=True).model_type == "gpt2"
    assert blob.read_bytes() == right
