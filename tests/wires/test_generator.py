"""The complaint generator by way of the local Hub: replicas of a chat model and of one that knows no chat."""

from __future__ import annotations

import gc
import logging
import random
import weakref
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from phaita.models.presentation import PatientPresentation, SymptomGenerator
from phaita.models.templates import TemplateComplaintGenerator
from phaita.utils.config import Config, ModelConfig
from phaita_loader import InitialisationError, NotFound
from tests.hub import Commit, Repo
from tests.wires.support import NAME, QUICK, Connect, Serve

pytestmark = pytest.mark.torch

MISTRAL = "mistralai/Mistral-7B-Instruct-v0.2"
BOTH = [MISTRAL, "gpt2"]
WHEEZING = PatientPresentation("J45.9", ("wheezing", "cough"), "adult", "mild")
COLD = PatientPresentation("J06.9", ("rhinorrhea", "sneezing", "sore_throat", "headache"))
PEOPLE = [WHEEZING, COLD, PatientPresentation("J21.9", ("poor_feeding",), "child", "severe")]


@pytest.fixture(scope="module")
def phaita() -> ModuleType:
    return import_module("phaita.models.generator")


@pytest.fixture
def made(serve_replicas: Serve, client: Connect, phaita: ModuleType) -> Any:
    """A generator from a replica, on the CPU, with short complaints that nothing but a token ends."""

    def loaded(name: Any, **options: Any) -> Any:
        config = phaita.ComplaintConfig(max_new_tokens=10, stop=())
        hub = client(serve_replicas(name))
        defaults = {"hub": hub, "policy": QUICK, "device": "cpu", "config": config}
        return phaita.ComplaintGenerator.from_pretrained(name, **{**defaults, **options})

    return loaded


@pytest.mark.parametrize("name", BOTH)
def test_a_generator_comes_from_the_hub(made: Any, torch: ModuleType, name: Any) -> None:
    generator = made(name)
    assert generator.kind == "causal_lm"
    assert {one.dtype for one in generator.parameters()} == {torch.bfloat16}
    assert not any(module.training for module in generator.modules())
    complaints = generator.generate_complaints(PEOPLE, seed=1)
    assert len(complaints) == 3
    assert all(complaints)
    assert complaints == generator.generate_complaints(PEOPLE, seed=1)


def test_the_default_is_mistral(serve_replicas: Serve, client: Connect, phaita: ModuleType) -> None:
    hub = client(serve_replicas(MISTRAL))
    generator = phaita.ComplaintGenerator.from_pretrained(hub=hub, policy=QUICK, device="cpu")
    assert generator.model.config.model_type == "mistral"


def test_a_config_names_the_model(serve_replicas: Serve, client: Connect, phaita: ModuleType) -> None:
    options = {"hub": client(serve_replicas("gpt2")), "policy": QUICK, "device": "cpu"}
    settings = Config(model=ModelConfig(mistral_model="gpt2"))
    generator = phaita.ComplaintGenerator.from_pretrained(config=settings, **options)
    assert generator.model.config.model_type == "gpt2"
    assert generator.config == phaita.ComplaintConfig()
    lost = Config(model=ModelConfig(mistral_model="org/none"))
    assert phaita.ComplaintGenerator.from_pretrained("gpt2", config=lost, **options).model.config.model_type == "gpt2"
    with pytest.raises(NotFound, match="org/none"):
        phaita.ComplaintGenerator.from_pretrained(config=lost, **options)


def test_a_chat_model_is_asked_in_its_own_template(made: Any) -> None:
    generator = made(MISTRAL)
    asked = generator.tokenizer.decode(generator._prompt_ids(WHEEZING))
    assert asked.startswith("<s>")
    assert asked.count("<s>") == 1
    assert "[INST]" in asked
    assert asked.rstrip().endswith("[/INST]")


def test_a_model_without_a_template_is_asked_plainly(made: Any) -> None:
    generator = made("gpt2")
    asked = generator.tokenizer.decode(generator._prompt_ids(WHEEZING))
    assert asked == f"{generator.prompt(WHEEZING)}\n\nPatient:"


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_complaint_does_not_depend_on_its_batch(made: Any, phaita: ModuleType, name: Any, temperature: float) -> None:
    """In float32: bfloat16 rounds so coarsely that padding may tip the balance between two tokens."""
    together = made(name, config=phaita.ComplaintConfig(10, temperature, stop=())).float()
    alone = phaita.ComplaintGenerator(
        together.model, together.tokenizer, phaita.ComplaintConfig(10, temperature, stop=(), batch_tokens=1)
    )
    assert together.generate_complaints(PEOPLE, seed=4) == alone.generate_complaints(PEOPLE, seed=4)


@pytest.mark.parametrize("name", BOTH)
def test_gradients_reach_every_parameter(made: Any, name: Any) -> None:
    generator = made(name).float().train()
    generator(PEOPLE, ["I have a fever.", "A dry cough", "no"]).sum().backward()
    assert [key for key, one in generator.named_parameters() if one.grad is None] == []


@pytest.mark.parametrize("name", BOTH)
def test_a_complaints_log_probability_does_not_depend_on_its_batch(made: Any, torch: ModuleType, name: Any) -> None:
    generator = made(name).float()
    texts = ["I have a fever.", "no", "A dry cough and chills since yesterday"]
    together = generator(PEOPLE, texts)
    alone = torch.cat([generator([one], [text]) for one, text in zip(PEOPLE, texts, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)


def test_what_is_saved_loads_as_the_same(
    made: Any, serve: Serve, client: Connect, tmp_path: Path, phaita: ModuleType, torch: ModuleType
) -> None:
    """A model that was trained on here goes out as transformers saves it, and comes back through a Hub."""
    first = made(MISTRAL)
    with torch.no_grad():
        first.model.lm_head.weight.mul_(1.5)
    first.model.save_pretrained(tmp_path / "saved")
    first.tokenizer.save_pretrained(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    hub = client(serve(Repo(NAME, [Commit(files)])), cache_dir=tmp_path / "other")
    second = phaita.ComplaintGenerator.from_pretrained(NAME, hub=hub, device="cpu", config=first.config)
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(one, second.state_dict()[key]) for key, one in first.state_dict().items())
    assert first.generate_complaints(PEOPLE, seed=1) == second.generate_complaints(PEOPLE, seed=1)


def test_another_revision(made: Any, torch: ModuleType) -> None:
    newest, older = made(MISTRAL), made(MISTRAL, revision=import_module("tests.hub.replicas").replica(MISTRAL).shas[0])
    assert not torch.equal(newest.model.lm_head.weight, older.model.lm_head.weight)


def test_a_failed_load_raises(serve_replicas: Serve, client: Connect, phaita: ModuleType) -> None:
    with pytest.raises(NotFound, match=MISTRAL):
        phaita.ComplaintGenerator.from_pretrained(hub=client(serve_replicas("gpt2")), policy=QUICK)


def test_templates_stand_in_only_where_they_are_asked_for(
    serve_replicas: Serve, client: Connect, phaita: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "phaita"):
        stand_in = phaita.ComplaintGenerator.from_pretrained(
            hub=client(serve_replicas("gpt2")), policy=QUICK, fallback="template"
        )
    assert type(stand_in) is TemplateComplaintGenerator
    assert stand_in.kind == "template"
    (told,) = [record.getMessage() for record in caplog.records if record.name.startswith("phaita.")]
    assert MISTRAL in told
    assert "404" in told or "no such" in told or "not" in told
    assert stand_in.generate_complaints(PEOPLE, seed=1) == TemplateComplaintGenerator().generate_complaints(
        PEOPLE, seed=1
    )


def test_templates_do_not_stand_in_for_a_model_that_loads(made: Any, phaita: ModuleType) -> None:
    assert type(made("gpt2", fallback="template")) is phaita.ComplaintGenerator


def test_templates_do_not_hide_a_mistake(serve_replicas: Serve, client: Connect, phaita: ModuleType) -> None:
    hub = serve_replicas("gpt2")
    with pytest.raises(ValueError, match="repo_id"):
        phaita.ComplaintGenerator.from_pretrained("not a repo", hub=client(hub), fallback="template")
    with pytest.raises(ValueError, match='"template"'):
        phaita.ComplaintGenerator.from_pretrained("gpt2", hub=client(hub), fallback="templates")
    assert not hub.seen


def test_four_bits_need_cuda_and_the_extra(serve_replicas: Serve, client: Connect, phaita: ModuleType) -> None:
    hub = serve_replicas("gpt2")
    with pytest.raises(InitialisationError, match=r"phaita-models\[4bit\]"):
        phaita.ComplaintGenerator.from_pretrained("gpt2", hub=client(hub), device="cpu", quantize=True)
    assert not hub.seen


def test_its_memory_is_freed(made: Any) -> None:
    generator = made(MISTRAL)
    generator.generate_complaints(PEOPLE)
    gone = [weakref.ref(one) for one in (generator, generator.model)]
    del generator
    gc.collect()
    assert [one() for one in gone] == [None, None]


def test_from_a_condition_to_a_complaint(made: Any) -> None:
    rng, symptoms = random.Random(1), SymptomGenerator()
    people = [symptoms.generate_symptoms(code, rng=rng) for code in ("J45.9", "J93.0")]
    assert len(made(MISTRAL).generate_complaints(people, seed=1)) == 2


@pytest.fixture
def cuda(torch: ModuleType) -> Any:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.cuda


@pytest.mark.cuda
@pytest.mark.parametrize("name", BOTH)
def test_a_generator_on_a_cuda_device(cuda: Any, made: Any, name: Any) -> None:
    generator = made(name, device=None, quantize=False)
    assert {one.device.type for one in generator.parameters()} == {"cuda"}
    complaints = generator.generate_complaints(PEOPLE, seed=1)
    assert complaints == generator.generate_complaints(PEOPLE, seed=1)
    held, weights = cuda.memory_allocated(), sum(one.nbytes for one in generator.parameters())
    del generator
    gc.collect()
    assert cuda.memory_allocated() <= held - weights


@pytest.mark.cuda
@pytest.mark.usefixtures("cuda")
def test_four_bit_weights_on_a_cuda_device(made: Any, torch: ModuleType) -> None:
    if find_spec("bitsandbytes") is None or find_spec("accelerate") is None:
        pytest.skip("bitsandbytes and accelerate are not installed")
    generator = made(MISTRAL, device=None)
    quantized = generator.model.config.quantization_config
    assert quantized.load_in_4bit
    assert quantized.bnb_4bit_quant_type == "nf4"
    assert torch.uint8 in {one.dtype for one in generator.parameters()}
    assert all(generator.generate_complaints(PEOPLE, seed=1))
    settings = Config(model=ModelConfig(mistral_model=MISTRAL, use_quantization=False))
    whole = made(MISTRAL, device=None, config=settings)
    assert {one.dtype for one in whole.parameters()} == {torch.bfloat16}
