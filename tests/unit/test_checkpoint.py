"""A discriminator goes into a folder and comes out as it was, with no socket; what can't be built says why."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phaita_loader import InitialisationError
from tests.unit.encoders import discriminator

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
phaita = import_module("phaita.models.discriminator")
graphs = import_module("phaita.models._graph")

TEXTS = ["I have wheezing and a tight chest but no fever", "", "fever " * 40]
RECORD = phaita.TrainingRecord("Forty complaints, made up for a test.", {"top-1": 0.75, "ECE": 0.03125})
DESCRIPTION, WEIGHTS = "phaita_config.json", "model.safetensors"
from_pretrained = phaita.DiagnosisDiscriminator.from_pretrained


@pytest.fixture
def model():
    model = discriminator()
    model.trained_on = RECORD
    return model


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def edit(folder: Path, **changes: object) -> None:
    """Change what the description says at its first level."""
    path = folder / DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def assert_same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name
    assert one.predict_diagnosis(TEXTS, 10, seed=1) == other.predict_diagnosis(TEXTS, 10, seed=1)


@pytest.mark.parametrize("path", [str, Path])
def test_it_comes_out_as_it_went_in(model, folder, path):
    loaded = from_pretrained(path(folder))
    assert_same(model, loaded)
    assert not any(module.training for module in loaded.modules())
    assert (loaded.config, loaded.symptom_graph, loaded.trained_on) == (model.config, model.symptom_graph, RECORD)
    assert loaded.trained
    assert torch.equal(loaded.graph.edge_index, model.graph.edge_index)
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("options", [{"use_graph": False}, {"graph_layers": 1, "dropout": 0.0}])
def test_its_config_comes_with_it(tmp_path, options):
    model = discriminator(**options)
    model.trained_on = RECORD
    model.save_pretrained(tmp_path)
    assert_same(model, from_pretrained(tmp_path))


@pytest.mark.parametrize("parts", [("encoder", "norm", "graph", "fusion"), ("encoder",), ("norm", "graph", "fusion")])
def test_dtypes_are_kept(model, tmp_path, parts):
    for part in parts:
        getattr(model, part).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert_same(model, from_pretrained(tmp_path))


def test_a_setting_that_came_later_has_its_default(model, folder):
    config = json.loads((folder / DESCRIPTION).read_text())["config"]
    assert config.pop("mc_dropout") is True
    edit(folder, config=config)
    assert_same(model, from_pretrained(folder))


def test_untrained_heads_stay_untrained(tmp_path):
    model = discriminator()
    model.save_pretrained(tmp_path)
    loaded = from_pretrained(tmp_path)
    assert not loaded.trained
    with pytest.raises(phaita.Untrained):
        loaded.predict_diagnosis(TEXTS)


def test_a_device_may_be_named(folder):
    assert {one.device.type for one in from_pretrained(folder, device="meta").parameters()} == {"meta"}


def test_loading_draws_nothing_for_the_encoder(folder, model):
    """A checkpoint of an encoder with other dropout, or none, is no reason to draw its weights first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert_same(model, from_pretrained(folder))


def test_weights_that_an_encoder_ties_stay_tied(model, tmp_path):
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    t5 = T5EncoderModel(T5Config(vocab_size=len(model.tokenizer), **sizes)).eval()
    model = phaita.DiagnosisDiscriminator(t5, model.tokenizer, model.config, trained_on=RECORD).eval()
    model.save_pretrained(tmp_path)
    loaded = from_pretrained(tmp_path)
    assert_same(model, loaded)
    assert loaded.encoder.shared.weight is loaded.encoder.encoder.embed_tokens.weight


def test_what_is_written(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {DESCRIPTION, WEIGHTS, "README.md", "tokenizer.json", "tokenizer_config.json"}
    texts = [path.read_text() for path in folder.iterdir() if path.name != WEIGHTS]
    assert not [text for text in texts if str(folder.parent) in text or str(Path.cwd()) in text]


def test_a_checkpoint_may_be_replaced_while_it_is_in_use(model, folder):
    loaded = from_pretrained(folder)
    kept = {name: one.clone() for name, one in loaded.state_dict().items()}
    with torch.no_grad():
        model.fusion.diagnosis.bias += 1
    before = (folder / WEIGHTS).read_bytes()
    with (folder / WEIGHTS).open("rb") as mapped:
        model.save_pretrained(folder)
        assert mapped.read() == before
    assert all(torch.equal(one, kept[name]) for name, one in loaded.state_dict().items())
    assert_same(model, from_pretrained(folder))


def test_a_failed_save_leaves_the_old_checkpoint(model, folder):
    model.trained_on = phaita.TrainingRecord("a figure that is no number", {"top-1": float("nan")})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="JSON"):
        model.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_save_that_breaks_off_makes_no_checkpoint(model, tmp_path):
    (tmp_path / "tokenizer.json" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"tokenizer\.json"):
        model.save_pretrained(tmp_path)
    assert not (tmp_path / DESCRIPTION).exists()


def test_a_config_beside_a_checkpoint_is_refused(folder):
    with pytest.raises(ValueError, match=r"set `model\.config`"):
        from_pretrained(folder, config=phaita.DiscriminatorConfig())


@pytest.mark.parametrize("path", [str, Path])
def test_a_folder_without_a_description_is_named(tmp_path, path):
    with pytest.raises(InitialisationError, match=str(tmp_path / DESCRIPTION)):
        from_pretrained(path(tmp_path))


def test_a_path_that_is_not_there_is_no_repo(tmp_path):
    with pytest.raises(InitialisationError, match="nowhere"):
        from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="repo_id"):
        from_pretrained(str(tmp_path / "nowhere"))


def test_a_newer_format_asks_for_an_upgrade(folder):
    edit(folder, format=2, something_new={"of": "another shape"})
    with pytest.raises(InitialisationError, match=r"format 2; .* reads up to 1\n.*pip install --upgrade phaita-models"):
        from_pretrained(folder)


def test_other_labels_are_refused(folder):
    graph = json.loads((folder / DESCRIPTION).read_text())["graph"]
    *first, (last, _) = graph["labels"].items()
    edges = {("A00.0" if code == last else code): ends for code, ends in graph["edges"].items()}
    edit(folder, graph={**graph, "labels": {**dict(first), "A00.0": "Cholera"}, "edges": edges})
    with pytest.raises(InitialisationError, match=r"A00\.0; the conditions are J45\.9"):
        from_pretrained(folder)


def test_the_order_of_labels_counts(folder):
    graph = json.loads((folder / DESCRIPTION).read_text())["graph"]
    edit(folder, graph={**graph, "labels": dict(reversed(graph["labels"].items()))})
    with pytest.raises(InitialisationError, match="the conditions are"):
        from_pretrained(folder)


def test_a_symptom_that_is_gone_is_named(folder):
    graph = json.loads((folder / DESCRIPTION).read_text())["graph"]
    edit(folder, graph={**graph, "symptoms": [*graph["symptoms"][:-1], "phlogiston"], "edges": {}})
    with pytest.raises(InitialisationError, match="not in the lexicon: phlogiston"):
        from_pretrained(folder)


def test_symptoms_that_came_later_do_no_harm(tmp_path):
    today = graphs.SymptomGraph.of_conditions()
    kept = today.symptoms[: len(today.symptoms) // 2]
    edges = {code: tuple(one for one in ends if one in kept) for code, ends in today.edges.items()}
    small = discriminator()
    graph = graphs.SymptomGraph(today.labels, kept, edges)
    model = phaita.DiagnosisDiscriminator(
        small.encoder, small.tokenizer, small.config, graph=graph, trained_on=RECORD
    ).eval()
    model.save_pretrained(tmp_path)
    loaded = from_pretrained(tmp_path)
    assert_same(model, loaded)
    assert loaded.graph.node.num_embeddings == len(kept) + 10


BROKEN = {
    "no JSON": lambda content: "{",
    "a bottomless pit": lambda content: "[" * 100_000,
    "no table": lambda content: "[]",
    "nothing": lambda content: "{}",
    "an unknown setting": lambda content: json.dumps({**content, "config": {**content["config"], "colour": "red"}}),
    "an unknown part": lambda content: json.dumps({**content, "colour": "red"}),
    "a size that makes no sense": lambda content: json.dumps({**content, "config": {"node_size": 0}}),
    "an edge to nowhere": lambda content: json.dumps(
        {**content, "graph": {**content["graph"], "edges": {"J45.9": ["phlogiston"]}}}
    ),
    "an encoder of no known type": lambda content: json.dumps({**content, "encoder": {"model_type": "no_such"}}),
    "an encoder that is no model": lambda content: json.dumps(
        {**content, "encoder": {**content["encoder"], "architectures": ["AutoTokenizer"]}}
    ),
    "another size of the encoder": lambda content: json.dumps(
        {**content, "encoder": {**content["encoder"], "hidden_size": 8}}
    ),
    "another size of the fusion": lambda content: json.dumps(
        {**content, "config": {**content["config"], "fusion_size": 8}}
    ),
    "no graph where there was one": lambda content: json.dumps(
        {**content, "config": {**content["config"], "use_graph": False}}
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_description_that_makes_no_sense_is_an_error_that_names_the_place(folder, broken):
    path = folder / DESCRIPTION
    path.write_text(broken(json.loads(path.read_text())))
    with pytest.raises(InitialisationError, match=str(folder)) as refused:
        from_pretrained(folder)
    assert "save_pretrained" in refused.value.hint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["format", "config", "encoder", "graph", "trained_on", "x"]), json_values))
def test_foreign_descriptions_are_errors_of_ours(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("foreign")
    (folder / DESCRIPTION).write_text(json.dumps(content))
    with pytest.raises(InitialisationError):
        from_pretrained(folder)


@pytest.mark.parametrize("damage", ["missing", "cut", "a tensor less", "a tensor more"])
def test_weights_that_do_not_fit_are_an_error_that_names_the_place(folder, damage):
    from safetensors.torch import load_file, save_file

    path = folder / WEIGHTS
    weights = load_file(path)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "a tensor less":
        save_file({name: one for name, one in weights.items() if name != "fusion.diagnosis.bias"}, path)
    else:
        save_file({**weights, "fusion.third.bias": torch.zeros(1)}, path)
    with pytest.raises(InitialisationError, match=str(folder)):
        from_pretrained(folder)


def test_the_card_says_what_it_is(folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: phaita-models\n")
    assert "This software is not a medical device." in card
    assert RECORD.data in card
    assert "| top-1 | 0.75 |\n| ECE | 0.03125 |" in card
    assert "| J45.9 | Asthma |" in card
    assert "the first 32 tokens" in card
    assert "## Limits" in card
    assert "base_model" not in card  # the encoder was given, so nobody knows its name
    assert "text encoder: bert" in card


def test_the_card_of_untrained_heads_says_so(tmp_path):
    model = discriminator(encoder="org/encoder", revision="a" * 40, use_graph=False)
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "**untrained**" in card
    assert "\nbase_model: org/encoder\n" in card
    assert f"text encoder: org/encoder (commit {'a' * 40})" in card
    assert "symptom graph: none" in card


class Api:
    """A record of the calls that `push_to_hub` makes of huggingface_hub's HfApi."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def create_repo(self, repo_id, **options):
        self.calls.append(("create_repo", repo_id, options))

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.calls.append(("upload_folder", repo_id, {path.name for path in Path(folder_path).iterdir()}))
        self.message, self.folder = commit_message, Path(folder_path)
        return SimpleNamespace(commit_url=f"https://hub.example/{repo_id}/commit/1")


def test_a_push_makes_the_repo_and_uploads_all_files(model, folder):
    api = Api()
    url = model.push_to_hub("org/checkpoint", private=True, commit_message="Trained", api=api)
    assert url == "https://hub.example/org/checkpoint/commit/1"
    assert api.calls == [
        ("create_repo", "org/checkpoint", {"private": True, "exist_ok": True}),
        ("upload_folder", "org/checkpoint", {path.name for path in folder.iterdir()}),
    ]
    assert api.message == "Trained"
    assert not api.folder.exists()
