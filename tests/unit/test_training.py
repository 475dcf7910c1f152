"""Training on a few complaints with a tiny encoder: it learns, stops, repeats itself, and goes on where it was."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from phaita.errors import InvalidFile
from phaita.training.complaints import draw_complaints
from phaita.utils.config import DataConfig, TrainingConfig
from tests.unit.encoders import discriminator

pytestmark = pytest.mark.torch

FEW = draw_complaints(DataConfig(samples_per_condition=2), 1)
SHORT = TrainingConfig(num_epochs=4, seed=1)


@pytest.fixture(scope="module")
def train():
    return import_module("phaita.training").train_discriminator


@pytest.fixture
def taught(train):
    def made(training=SHORT, complaints=FEW, made=0, **options):
        model = discriminator(made)
        return model, train(model, training, complaints=complaints, **options)

    return made


def weights(model):
    return {name: weight.tolist() for name, weight in model.state_dict().items()}


def epoch(validation):
    return import_module("phaita.training.train").Epoch(0.0, validation)


@pytest.mark.parametrize(
    ("validation", "over"),
    [
        ([], False),
        ([3.0], False),
        ([3.0, 2.0, 1.0], False),
        ([3.0, 1.0, 2.0], False),
        ([3.0, 1.0, 2.0, 2.0], True),
        ([3.0, 1.0, 2.0, 0.9], False),
        ([1.0, 1.0, 1.0], True),  # as good is not better
        ([9.0, 8.0, 7.0, 6.0, 5.0], True),
    ],
)
def test_it_is_over_after_enough_epochs_or_too_many_without_a_better_one(validation, over):
    is_over = import_module("phaita.training.train").is_over
    assert is_over([epoch(one) for one in validation], limit=5, patience=2) is over


def test_it_learns(train):
    model = discriminator(0, dropout=0.0)
    steady = TrainingConfig(num_epochs=20, patience=20, seed=1, batch_size=25, head_learning_rate=0.03)
    done = train(model, steady, complaints=FEW)
    assert done.epochs[-1].loss < 0.8 * done.epochs[0].loss
    assert min(epoch.validation for epoch in done.epochs) < done.epochs[0].validation
    assert not model.training


def test_the_best_epoch_is_kept(taught):
    fast = TrainingConfig(num_epochs=40, seed=1, head_learning_rate=0.1, patience=2)
    model, done = taught(fast)
    assert len(done.epochs) == done.best + 1 + 2 < 40
    assert done.best == min(range(len(done.epochs)), key=lambda number: done.epochs[number].validation)
    again, _ = taught(fast.model_copy(update={"num_epochs": done.best + 1}))
    assert weights(model) == weights(again)


def test_it_repeats_itself_whatever_came_before(taught, torch):
    torch.manual_seed(1)
    model, done = taught()
    state = torch.get_rng_state()
    torch.manual_seed(2)
    other, again = taught()
    assert (weights(model), done) == (weights(other), again)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_heads_that_have_learned_nothing_are_drawn_by_the_seed(taught):
    model, _ = taught(made=0)
    heads = {name: one for name, one in weights(model).items() if not name.startswith("encoder.")}
    encoder = discriminator(0).encoder
    other = discriminator(5)
    other.encoder = encoder
    import_module("phaita.training").train_discriminator(other, SHORT, complaints=FEW)
    assert heads == {name: one for name, one in weights(other).items() if not name.startswith("encoder.")}
    assert weights(taught(SHORT.model_copy(update={"seed": 2}))[0]) != weights(model)


def test_heads_that_have_learned_go_on_from_there(train, taught):
    model, first = taught()
    second = train(model, SHORT, complaints=FEW)
    assert second.epochs[0].validation < first.epochs[0].validation


@pytest.mark.parametrize("train_encoder", [False, True])
def test_the_encoder_learns_if_asked(taught, train_encoder):
    start = discriminator(0).encoder.state_dict()
    model, _ = taught(train_encoder=train_encoder)
    moved = [name for name, one in model.encoder.state_dict().items() if not one.equal(start[name])]
    assert bool(moved) is train_encoder


def test_a_fixed_encoder_reads_each_text_once(train):
    model = discriminator(0)
    read = []
    model.encoder.register_forward_pre_hook(lambda _, __, named: read.append(len(named["input_ids"])), with_kwargs=True)
    train(model, SHORT, complaints=FEW)
    assert sum(read) == len({one.text for part in (FEW.train, FEW.validation, FEW.test) for one in part})


def test_what_is_trained_is_what_forward_answers(taught, torch):
    texts = import_module("phaita.training._texts")
    symptoms = import_module("phaita.data.symptoms")
    model, _ = taught()
    there = texts.Texts(model, FEW.test, texts.Encodings(model), symptoms.find_symptoms)
    conditions, fluent = texts.predict(model, there)
    answered = model([one.text for one in FEW.test])
    torch.testing.assert_close(conditions, answered["diagnosis_logits"].softmax(-1))
    torch.testing.assert_close(fluent, answered["discriminator_scores"].squeeze(-1))


@pytest.mark.parametrize("train_encoder", [False, True])
def test_a_stopped_training_goes_on_to_the_same_bits(taught, tmp_path, train_encoder):
    whole, done = taught(train_encoder=train_encoder)
    two = SHORT.model_copy(update={"num_epochs": 2})
    taught(two, train_encoder=train_encoder, state=tmp_path / "states" / "one.pt")
    model, again = taught(made=0, train_encoder=train_encoder, state=tmp_path / "states" / "one.pt")
    assert again == done
    assert weights(model) == weights(whole)
    assert model.trained_on == whole.trained_on
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["one.pt"]


def test_one_that_was_interrupted_within_an_epoch_goes_on_to_the_same_bits(train, taught, tmp_path):
    whole, done = taught()
    model = discriminator(0)
    steps: list[None] = []

    def interrupt(*_):
        steps.append(None)
        if len(steps) == 9:  # of 7 in an epoch, validation included
            raise KeyboardInterrupt

    hook = model.fusion.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(model, SHORT, complaints=FEW, state=tmp_path / "one.pt")
    hook.remove()
    assert not model.trained
    assert train(model, SHORT, complaints=FEW, state=tmp_path / "one.pt") == done
    assert weights(model) == weights(whole)


def test_a_finished_one_only_hands_out_its_model(taught, tmp_path):
    model, done = taught(state=tmp_path / "one.pt")
    before = (tmp_path / "one.pt").read_bytes()
    again, found = taught(state=tmp_path / "one.pt")
    assert (weights(again), found) == (weights(model), done)
    assert (tmp_path / "one.pt").read_bytes() == before


OTHERS: dict[str, dict[str, Any]] = {
    "complaints": {"complaints": draw_complaints(DataConfig(samples_per_condition=2), 2)},
    "settings": {"training": SHORT.model_copy(update={"weight_decay": 0.5})},
    "initial weights": {"made": 3},
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_state_of_another_training_is_refused(taught, tmp_path, what):
    taught(state=tmp_path / "one.pt")
    with pytest.raises(InvalidFile, match=rf"one\.pt: the state of another training run \(other {what}\); remove it"):
        taught(state=tmp_path / "one.pt", **OTHERS[what])


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04 cut off"])
def test_a_damaged_state_is_refused(taught, tmp_path, content):
    (tmp_path / "one.pt").write_bytes(content)
    with pytest.raises(InvalidFile, match=r"one\.pt: not the state of a training run"):
        taught(state=tmp_path / "one.pt")


def test_a_state_from_a_later_version_is_refused(taught, torch, tmp_path):
    taught(state=tmp_path / "one.pt")
    content = torch.load(tmp_path / "one.pt", weights_only=True)
    torch.save({**content, "format": 2}, tmp_path / "one.pt")
    with pytest.raises(InvalidFile, match="format 2"):
        taught(state=tmp_path / "one.pt")


def test_a_loss_that_is_no_number_ends_it(train, torch):
    model = discriminator(0)
    with torch.no_grad():
        model.encoder.embeddings.word_embeddings.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="head_learning_rate"):
        train(model, SHORT, complaints=FEW)
    assert not model.trained


def test_the_checkpoint_says_what_it_learned_from(taught, tmp_path):
    model, _ = taught()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.trained
    assert loaded.trained_on == model.trained_on
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "**Synthetic** complaints" in card
    assert "it judges fluency, not origin" in " ".join(card.split())
    assert "20 complaints" in card
    assert loaded.predict_diagnosis(["I have a cough"])


def test_the_source_of_own_complaints_is_told(taught):
    model, _ = taught(complaints=replace(FEW, source="Letters to the editor."))
    assert model.trained_on.data.startswith("Letters to the editor.")
    assert "Synthetic" not in model.trained_on.data


def test_the_bar_is_silent_unless_asked(taught, capsys):
    taught()
    assert capsys.readouterr().err == ""
    taught(progress=True)
    assert "/4 [" in capsys.readouterr().err


@pytest.mark.cuda
def test_it_learns_on_cuda(train, torch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = discriminator(0).to("cuda")
    done = train(model, SHORT, complaints=FEW)
    assert done.epochs[-1].loss < done.epochs[0].loss
    assert model.predict_diagnosis(["I have a cough"])


def test_the_package_hands_out_what_it_states():
    package = import_module("phaita.training")
    assert [getattr(package, name).__name__ for name in package.__all__] == package.__all__
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing
