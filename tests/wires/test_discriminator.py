"""The discriminator by way of the local Hub: around replicas of real encoders, and from a checkpoint of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from phaita.utils.config import Config, ModelConfig
from phaita_loader import DeadlineExceeded, InitialisationError, NotCached, NotFound, Policy, load
from tests.hub import Answer, Commit, Repo
from tests.unit.encoders import heard
from tests.wires.support import NAME, QUICK, Connect, Serve, fresh_process

pytestmark = pytest.mark.torch

DEBERTA = "microsoft/deberta-v3-base"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
ENCODERS = [DEBERTA, "bert-base-uncased", "emilyalsentzer/Bio_ClinicalBERT", "gpt2", MINILM]
WHEEZE = "I have wheezing and a tight chest but no fever"
TEXTS = [WHEEZE, "a dry cough", "coughing up blood and chest pain since last night", ""]


@pytest.fixture(scope="module")
def phaita() -> ModuleType:
    return import_module("phaita.models.discriminator")


@pytest.fixture
def around(serve_replicas: Serve, client: Connect, phaita: ModuleType) -> Any:
    """A discriminator around a replica, with the default sizes."""

    def made(name: Any, **options: Any) -> Any:
        hub = client(serve_replicas(name))
        return phaita.DiagnosisDiscriminator.from_pretrained(name, hub=hub, policy=QUICK, **options)

    return made


@pytest.fixture
def trained(around: Any, phaita: ModuleType) -> Any:
    model = around(DEBERTA)
    model.trained_on = phaita.TrainingRecord("nothing, in a test", {"top-1": 0.1})
    return model


@pytest.fixture
def checkpoint(trained: Any, tmp_path: Path) -> Any:
    """A repo that holds a checkpoint, and no other."""
    trained.save_pretrained(tmp_path / "saved")
    return Repo(NAME, [Commit({path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()})])


def predicted(model: Any, texts: Any = TEXTS) -> Any:
    return model.predict_diagnosis(texts, 10, seed=1, allow_untrained=True)


def listings(hub: Any) -> Any:
    return [seen for seen in hub.seen if seen.path.startswith("/api/models/")]


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_comes_with_its_own_weights_and_untrained_heads(
    serve_replicas: Serve, client: Connect, phaita: ModuleType, torch: ModuleType, name: Any
) -> None:
    served = serve_replicas(name)
    hub = client(served)
    model = phaita.DiagnosisDiscriminator.from_pretrained(name, hub=hub, policy=QUICK)
    assert len(listings(served)) == 1
    loaded = load(name, hub=hub.as_offline())
    assert (model.config.encoder, model.config.revision) == (name, loaded.snapshot.commit)
    theirs, ours = loaded.model.state_dict(), model.encoder.state_dict()
    assert theirs.keys() - ours.keys() <= {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(torch.equal(one, theirs[key]) for key, one in ours.items())
    assert getattr(model.encoder, "pooler", None) is None
    assert not any(module.training for module in model.modules())
    assert not model.trained
    with pytest.raises(phaita.Untrained):
        model.predict_diagnosis(TEXTS)
    assert all(len(records) == 10 and records[0].probability > 0.1 for records in predicted(model))


@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_reach_every_parameter(around: Any, torch: ModuleType, name: Any) -> None:
    model = around(name).train()
    scores = model(TEXTS)
    (scores["diagnosis_logits"].square().sum() + scores["discriminator_scores"].sum()).backward()
    assert [key for key, one in model.named_parameters() if one.grad is None] == []


@pytest.mark.parametrize("name", ENCODERS)
def test_a_text_does_not_depend_on_its_batch(around: Any, torch: ModuleType, name: Any) -> None:
    model = around(name)
    together = model(TEXTS)
    for row, text in enumerate(TEXTS):
        for key, scores in model([text]).items():
            torch.testing.assert_close(scores[0], together[key][row], rtol=1e-4, atol=1e-5)


def test_real_weights_read_alike_texts_alike(around: Any, torch: ModuleType) -> None:
    """Pooled as it was trained to be, MiniLM puts paraphrases near each other, and other matters elsewhere."""
    model = around(MINILM)
    seen = []
    model.norm.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
    model(["The patient is short of breath.", "He has trouble breathing.", "The stock market fell today."])
    alike, apart = (torch.nn.functional.cosine_similarity(seen[0], other, dim=0) for other in seen[1:])
    assert alike > 0.5 > 0.2 > apart


def test_what_is_left_out_on_purpose_alarms_nobody(around: Any, serve_replicas: Serve, client: Connect) -> None:
    with heard() as messages:
        model = around(MINILM)
        assert messages == []
        loaded = load(MINILM, hub=client(serve_replicas(MINILM)), policy=QUICK, fast=False, add_pooling_layer=False)
        assert "UNEXPECTED" in messages[0]
    assert loaded.model.state_dict().keys() == model.encoder.state_dict().keys()


def test_what_is_missing_is_said(serve: Serve, client: Connect, phaita: ModuleType) -> None:
    tensors = import_module("safetensors.torch")
    files = dict(import_module("tests.hub.replicas").replica(MINILM).commits[-1].files)
    weights = tensors.load_file(files["model.safetensors"])
    del weights["encoder.layer.0.output.dense.weight"]
    files["model.safetensors"] = tensors.save(weights, {"format": "pt"})
    hub = client(serve(Repo(NAME, [Commit(files)])))
    with heard() as messages:
        phaita.DiagnosisDiscriminator.from_pretrained(NAME, hub=hub, policy=QUICK)
    assert len(messages) == 1
    assert "MISSING" in messages[0]


def test_a_name_an_encoder_or_a_config_decide_what_is_fetched(
    serve_replicas: Serve, client: Connect, phaita: ModuleType
) -> None:
    served = serve_replicas(DEBERTA)
    options = {"hub": client(served), "policy": QUICK}
    from_pretrained = phaita.DiagnosisDiscriminator.from_pretrained
    assert from_pretrained(**options).config.encoder == DEBERTA
    named = phaita.DiscriminatorConfig(encoder=DEBERTA, fusion_size=32)
    assert from_pretrained(config=named, **options).config.fusion_size == 32
    with pytest.raises(NotFound) as missing:
        from_pretrained(config=Config(), **options)
    assert missing.value.request is not None
    assert missing.value.request.repo_id == Config().model.deberta_model
    settings = Config(model=ModelConfig(deberta_model="org/other", gnn_hidden=16))
    assert from_pretrained(DEBERTA, config=settings, **options).config.node_size == 16


def test_a_checkpoint_comes_from_its_own_repo_alone(
    serve: Serve, client: Connect, cache: Path, checkpoint: Any, trained: Any, phaita: ModuleType, torch: ModuleType
) -> None:
    served = serve(checkpoint)
    hub = client(served, cache_dir=cache / "other")
    model = phaita.DiagnosisDiscriminator.from_pretrained(NAME, hub=hub, policy=QUICK)
    assert len(listings(served)) == 1
    assert model.trained
    expected = trained.state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(one, expected[key]) for key, one in model.state_dict().items())
    assert (model.config, predicted(model)) == (trained.config, predicted(trained))


def test_a_checkpoint_names_no_folder_of_this_machine(checkpoint: Any, tmp_path: Path) -> None:
    texts = [content.decode() for path, content in checkpoint.commits[0].files.items() if "safetensors" not in path]
    assert len(texts) == 4
    assert not [text for text in texts if str(tmp_path) in text]


def test_a_checkpoint_survives_what_the_loader_survives(
    serve: Serve, client: Connect, cache: Path, checkpoint: Any, trained: Any, phaita: ModuleType
) -> None:
    served = serve(checkpoint)
    served.answer(Answer(match="model.safetensors", on="cdn", reset=40_000, times=2))
    served.answer(Answer(match="model.safetensors", on="cdn", flip=50_000, times=1))
    served.answer(Answer(on="hub", status=503, times=1))
    hub = client(served, cache_dir=cache / "other")
    model = phaita.DiagnosisDiscriminator.from_pretrained(NAME, hub=hub, policy=replace(QUICK, attempts=5))
    assert predicted(model) == predicted(trained)


def test_a_checkpoint_in_the_cache_takes_no_request(
    serve: Serve, client: Connect, cache: Path, checkpoint: Any, trained: Any, phaita: ModuleType
) -> None:
    served = serve(checkpoint)
    hub = client(served, cache_dir=cache / "other")
    with pytest.raises(NotCached):
        phaita.DiagnosisDiscriminator.from_pretrained(NAME, hub=hub.as_offline())
    phaita.DiagnosisDiscriminator.from_pretrained(NAME, hub=hub, policy=QUICK)
    served.clear()
    model = phaita.DiagnosisDiscriminator.from_pretrained(NAME, hub=hub.as_offline())
    assert predicted(model) == predicted(trained)
    assert not served.seen


def test_a_checkpoint_of_a_newer_format_names_the_repo(
    serve: Serve, client: Connect, cache: Path, checkpoint: Any, phaita: ModuleType
) -> None:
    files = {**checkpoint.commits[0].files}
    files["phaita_config.json"] = json.dumps({**json.loads(files["phaita_config.json"]), "format": 99}).encode()
    hub = client(serve(Repo(NAME, [Commit(files)])), cache_dir=cache / "other")
    with pytest.raises(InitialisationError, match=rf"^{NAME}@main: .* has format 99"):
        phaita.DiagnosisDiscriminator.from_pretrained(NAME, hub=hub, policy=QUICK)


def test_a_revision_may_be_named(
    serve: Serve, client: Connect, cache: Path, checkpoint: Any, trained: Any, phaita: ModuleType
) -> None:
    served = serve(Repo(NAME, [checkpoint.commits[0], Commit({"README.md": b"all gone"})], tags={"v1": 0}))
    options = {"hub": client(served, cache_dir=cache / "other"), "policy": QUICK}
    with pytest.raises(NotFound):
        phaita.DiagnosisDiscriminator.from_pretrained(NAME, **options)
    model = phaita.DiagnosisDiscriminator.from_pretrained(NAME, revision="v1", **options)
    assert predicted(model) == predicted(trained)


def test_a_deadline_holds(serve_replicas: Serve, client: Connect, phaita: ModuleType) -> None:
    served = serve_replicas(DEBERTA)
    served.answer(Answer(on="both", delay=30.0, times=None))
    policy = Policy(deadline=0.2)
    with pytest.raises(DeadlineExceeded):
        phaita.DiagnosisDiscriminator.from_pretrained(DEBERTA, hub=client(served), policy=policy)


def test_torch_geometric_waits_for_a_model_and_does_not_warn() -> None:
    code = (
        "import sys, warnings\n"
        "warnings.simplefilter('error', FutureWarning)\n"
        "import phaita.models.discriminator\n"
        "assert 'torch_geometric' not in sys.modules\n"
        "from phaita.models._graph import GraphEncoder, SymptomGraph\n"
        "GraphEncoder(SymptomGraph.of_conditions(), 8, 2, 1)\n"
        "print('torch_geometric' in sys.modules)\n"
    )
    with fresh_process(code) as process:
        told = process.communicate(timeout=120)
    assert told[0].strip() == "True", told


def test_torch_geometric_leaves_no_file_behind(tmp_path: Path) -> None:
    code = (
        "import pathlib, tempfile\n"
        "from phaita.models._graph import GraphEncoder, SymptomGraph\n"
        "for _ in range(2):\n"
        "    GraphEncoder(SymptomGraph.of_conditions(), 8, 2, 1)\n"
        "print(len(list(pathlib.Path(tempfile.gettempdir()).glob('torch_geometric*.py'))))\n"
    )
    with fresh_process(code, TMPDIR=str(tmp_path)) as process:
        told = process.communicate(timeout=120)
    assert told[0].strip() == "2", told
    assert list(tmp_path.glob("torch_geometric*")) == []


@pytest.mark.cuda
def test_a_checkpoint_on_a_cuda_device(
    checkpoint: Any, tmp_path: Path, trained: Any, phaita: ModuleType, torch: ModuleType
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = phaita.DiagnosisDiscriminator.from_pretrained(tmp_path / "saved", device="cuda")
    assert {one.device.type for one in [*model.parameters(), *model.buffers()]} == {"cuda"}
    for here, there in zip(predicted(trained), predicted(model), strict=True):
        ours, theirs = ({record.code: record.probability for record in records} for records in (here, there))
        assert theirs == pytest.approx(ours, abs=1e-4)
