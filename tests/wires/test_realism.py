"""The realism scorer by way of the local Hub: which encoder it takes, and that it puts complaints above word salad."""

from __future__ import annotations

import gc
import itertools
import logging
import random
import weakref
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from phaita.models.presentation import SymptomGenerator
from phaita.models.templates import TemplateComplaintGenerator
from phaita.utils.config import Config, ModelConfig
from phaita_loader import DeadlineExceeded, NotFound, Policy, load
from tests.hub import Commit, Repo
from tests.unit import language
from tests.wires.support import QUICK, Connect, Serve

pytestmark = pytest.mark.torch

CLINICAL = "emilyalsentzer/Bio_ClinicalBERT"
BIOBERT = "dmis-lab/biobert-base-cased-v1.1"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = ["I have a fever. And a dry cough.", "wheezing", "", "The stock market fell today. My chest hurts. Is it bad?"]


@pytest.fixture(scope="module")
def realism() -> ModuleType:
    return import_module("phaita.models.realism")


@pytest.fixture(scope="module")
def replica() -> Any:
    return import_module("tests.hub.replicas").replica


@pytest.fixture
def scorer(serve_replicas: Serve, client: Connect, realism: ModuleType) -> Any:
    """A scorer from replicas of these encoders and of gpt2."""

    def made(*encoders: Any, **options: Any) -> Any:
        hub = client(serve_replicas(*encoders, "gpt2"))
        return realism.RealismScorer.from_pretrained(hub=hub, policy=QUICK, **options)

    return made


def test_the_first_encoder_of_the_list_is_taken(scorer: Any, realism: ModuleType) -> None:
    made = scorer(CLINICAL, "bert-base-uncased")
    assert realism.ENCODERS == (CLINICAL, BIOBERT, "bert-base-uncased")
    assert made.encoder_name == CLINICAL
    assert made.passed_over == {}
    assert ((made.compute_realism_score(TEXTS) > 0) == made.compute_realism_score(TEXTS).new_tensor([1, 1, 0, 1])).all()


def test_those_that_do_not_load_are_passed_over_and_named(scorer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "phaita"):
        made = scorer("bert-base-uncased")
    assert made.encoder_name == "bert-base-uncased"
    assert list(made.passed_over) == [CLINICAL, BIOBERT]
    assert all("no such" in reason for reason in made.passed_over.values())
    told = [record.getMessage() for record in caplog.records if record.name.startswith("phaita.")]
    assert [one.split()[0] for one in told] == [CLINICAL, BIOBERT]


def test_bytes_that_are_no_model_are_passed_over(
    serve: Serve, client: Connect, realism: ModuleType, replica: Any
) -> None:
    broken = Repo(CLINICAL, [Commit({**replica(CLINICAL).commits[-1].files, "config.json": b"{}"})])
    hub = client(serve(broken, replica("bert-base-uncased"), replica("gpt2")))
    made = realism.RealismScorer.from_pretrained([CLINICAL, "bert-base-uncased"], hub=hub, policy=QUICK)
    assert "can't be built" in made.passed_over[CLINICAL]


def test_a_config_names_the_models(serve_replicas: Serve, client: Connect, realism: ModuleType) -> None:
    hub = client(serve_replicas(MINILM, "gpt2", "bert-base-uncased"))
    settings = Config(model=ModelConfig(realism_encoders=(CLINICAL, MINILM), perplexity_model="gpt2"))
    made = realism.RealismScorer.from_pretrained(config=settings, hub=hub, policy=QUICK)
    assert (made.encoder_name, list(made.passed_over)) == (MINILM, [CLINICAL])
    assert made.config == realism.RealismConfig()
    create = realism.create_realism_scorer
    assert create(config=settings, hub=hub, policy=QUICK).encoder_name == MINILM
    named = create("bert-base-uncased", False, config=settings, hub=hub, policy=QUICK)
    assert named.encoder_name == "bert-base-uncased"
    lost = Config(model=ModelConfig(perplexity_model="org/none"))
    with pytest.raises(NotFound, match="org/none"):
        realism.RealismScorer.from_pretrained(MINILM, config=lost, hub=hub, policy=QUICK)


def test_no_pooler_is_kept(scorer: Any) -> None:
    made = scorer("bert-base-uncased", encoders=["bert-base-uncased"])
    assert made.encoder.pooler is None
    assert not [name for name in made.encoder.state_dict() if "pooler" in name]


def test_when_none_loads_the_first_error_is_raised(scorer: Any) -> None:
    with pytest.raises(NotFound, match=CLINICAL):
        scorer()


def test_the_language_model_has_no_stand_in(serve_replicas: Serve, client: Connect, realism: ModuleType) -> None:
    hub = client(serve_replicas("bert-base-uncased"))
    with pytest.raises(NotFound, match="gpt2"):
        realism.RealismScorer.from_pretrained(["bert-base-uncased"], hub=hub, policy=QUICK)


def test_mistakes_are_not_passed_over(scorer: Any) -> None:
    with pytest.raises(ValueError, match="repo_id"):
        scorer("bert-base-uncased", encoders=["not a repo", "bert-base-uncased"])
    with pytest.raises(ValueError, match="at least one"):
        scorer(encoders=[])


def test_after_the_deadline_nothing_is_tried(serve: Serve, client: Connect, realism: ModuleType) -> None:
    hub = serve()
    with pytest.raises(DeadlineExceeded):
        realism.RealismScorer.from_pretrained(hub=client(hub), policy=Policy(deadline=1e-9))
    assert not hub.seen


def test_phaitas_factory(serve_replicas: Serve, client: Connect, realism: ModuleType) -> None:
    hub = client(serve_replicas(CLINICAL, "bert-base-uncased", "gpt2"))
    assert realism.create_realism_scorer(hub=hub).encoder_name == CLINICAL
    assert realism.create_realism_scorer(use_medical_model=False, hub=hub).encoder_name == "bert-base-uncased"
    assert realism.create_realism_scorer(MINILM, True, "cpu", hub=hub).encoder_name == CLINICAL


@pytest.mark.parametrize("encoder", [CLINICAL, "bert-base-uncased", MINILM])
def test_a_score_does_not_depend_on_its_batch(scorer: Any, torch: ModuleType, encoder: Any) -> None:
    made = scorer(encoder, encoders=[encoder], device="cpu")
    together = made.get_detailed_scores(TEXTS)
    for at, text in enumerate(TEXTS):
        for name, score in made.get_detailed_scores([text]).items():
            torch.testing.assert_close(score[0], together[name][at], rtol=1e-4, atol=1e-5)


def test_its_memory_is_freed(scorer: Any) -> None:
    made = scorer(CLINICAL)
    made.compute_realism_score(TEXTS)
    gone = [weakref.ref(one) for one in (made, made.lm, made.encoder)]
    del made
    gc.collect()
    assert [one() for one in gone] == [None] * 3


@pytest.mark.cuda
def test_scores_on_a_cuda_device(
    serve_replicas: Serve, client: Connect, realism: ModuleType, torch: ModuleType
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    hub = client(serve_replicas(CLINICAL, "gpt2"))
    there = realism.create_realism_scorer(hub=hub)
    scores = there.get_detailed_scores(TEXTS)
    assert {score.device.type for score in scores.values()} == {"cuda"}
    here = realism.create_realism_scorer(hub=hub, device="cpu").get_detailed_scores(TEXTS)
    for name, one in here.items():
        torch.testing.assert_close(scores[name].cpu(), one, rtol=1e-3, atol=1e-3)
    held, weights = torch.cuda.memory_allocated(), sum(one.nbytes for one in there.lm.parameters())
    del there, scores
    gc.collect()
    assert torch.cuda.memory_allocated() <= held - weights


def complaints(generator: Any, many: Any, seed: Any) -> Any:
    """Of patients with two symptoms or more, in sentences of the generator's own."""
    rng, symptoms = random.Random(seed), SymptomGenerator()
    drawn = (symptoms.generate_symptoms(severity="severe", rng=rng) for _ in itertools.count())
    several = itertools.islice((one for one in drawn if len(one.symptoms) > 1), many)
    return generator.generate_complaints(list(several), seed=seed)


def shuffled(text: Any, rng: Any) -> Any:
    """The same words and marks in another order."""
    words = text.split()
    return " ".join(rng.sample(words, len(words)))


@pytest.fixture(scope="module")
def fluent() -> Any:
    """(texts to train on, others): they share no template and no phrase."""
    seen, unseen = TemplateComplaintGenerator.split(seed=1)
    return complaints(seen, 400, 1), complaints(unseen, 30, 2)


@pytest.fixture(scope="module")
def language_model(fluent: Any, torch: ModuleType) -> Any:
    """A small GPT-2 that has read the texts to train on three times, and its tokenizer."""
    words = language.tokenizer([*fluent[0], *fluent[1]], pad_token="<pad>")
    model = language.gpt2(len(words), n_embd=32, n_positions=128).train()
    rows = [[words.bos_token_id, *words(text).input_ids, words.eos_token_id] for text in fluent[0]]
    order, descent = random.Random(0), torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        order.shuffle(rows)
        for at in range(0, len(rows), 20):
            tokens = words.pad({"input_ids": rows[at : at + 20]}, return_tensors="pt")
            targets = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)
            model(**tokens, labels=targets).loss.backward()
            descent.step()
            descent.zero_grad()
    return model.eval(), words


@pytest.fixture
def knowing(serve_replicas: Serve, client: Connect, realism: ModuleType, language_model: Any) -> Any:
    """A scorer of real weights: MiniLM's own, and those of the language model that was trained here."""
    loaded = load(MINILM, hub=client(serve_replicas(MINILM)), policy=QUICK)
    return realism.RealismScorer(loaded.model, loaded.tokenizer, *language_model)


def test_complaints_are_above_their_shuffled_words(knowing: Any, fluent: Any) -> None:
    """Texts of which the language model has read neither template nor phrase, each with three shuffles of it."""
    rng, texts = random.Random(5), fluent[1]
    salad = [shuffled(text, rng) for text in texts for _ in range(3)]
    right, wrong = knowing.get_detailed_scores(texts), knowing.get_detailed_scores(salad)
    for name in ("fluency", "overall"):
        assert (right[name].repeat_interleave(3) > wrong[name]).all(), name
        above = (right[name].unsqueeze(1) > wrong[name].unsqueeze(0)).float().mean()
        assert above > 0.95, name  # of any complaint beside any other's shuffle
    assert right["medical_relevance"].mean() > wrong["medical_relevance"].mean()


TOGETHER = [
    "I've had a bad cough for three days. Now my chest hurts when I breathe in.",
    "My breathing is getting worse every night. I wheeze whenever I climb the stairs.",
    "I woke up gasping for air. My lips looked blue and I was terrified.",
    "I keep coughing up yellow phlegm. The cough is so bad that I can't sleep.",
    "There was a sudden sharp pain in my chest. Since then I can't get enough air.",
    "My baby has been breathing very fast since yesterday. She makes a whistling noise with each breath.",
    "Lately I get out of breath on the stairs. I have to stop for breath on the way to the kitchen.",
    "I feel hot and cold by turns. Last night I had a fever and couldn't stop shivering.",
]


def test_sentences_that_belong_together_are_more_coherent(knowing: Any) -> None:
    firsts = [text.split(". ")[0] for text in TOGETHER]
    apart = [f"{first}. The stock market fell today." for first in firsts]
    coherence = [knowing.get_detailed_scores(texts)["coherence"] for texts in (TOGETHER, apart)]
    assert (coherence[0].unsqueeze(1) > coherence[1].unsqueeze(0)).float().mean() > 0.9
    assert coherence[0].mean() > coherence[1].mean() + 0.15


def test_sentences_of_shuffled_words_are_less_coherent(knowing: Any) -> None:
    """Not each of them: neighbours that share a subject share it in any order of words."""
    rng = random.Random(5)
    salad = [
        " ".join(f"{shuffled(sentence.rstrip('.'), rng)}." for sentence in text.split(". "))
        for text in TOGETHER
        for _ in range(5)
    ]
    right = knowing.get_detailed_scores(TOGETHER)["coherence"].repeat_interleave(5)
    wrong = knowing.get_detailed_scores(salad)["coherence"]
    assert (right > wrong).float().mean() > 0.7
    assert right.mean() > wrong.mean()
