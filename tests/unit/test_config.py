from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import phaita
from phaita.errors import InvalidFile
from phaita.utils.config import Config, DataConfig, ModelConfig, TrainingConfig

SECTIONS: dict[str, type[BaseModel]] = {"model": ModelConfig, "training": TrainingConfig, "data": DataConfig}


def test_the_defaults_that_phaitas_users_know() -> None:
    config = Config()
    assert config.model.deberta_model == "microsoft/deberta-base"
    assert config.model.mistral_model == "mistralai/Mistral-7B-Instruct-v0.2"
    assert config.model.realism_encoders == (
        "emilyalsentzer/Bio_ClinicalBERT",
        "dmis-lab/biobert-base-cased-v1.1",
        "bert-base-uncased",
    )
    assert config.model.perplexity_model == "gpt2"
    assert config.training.num_epochs == 100
    assert config.data.num_respiratory_conditions == 10


def test_a_configuration_is_a_value() -> None:
    config = Config(training=TrainingConfig(num_epochs=3))
    assert (config.training.num_epochs, config.model) == (3, ModelConfig())
    plain: Any = {"num_epochs": 3}
    assert config == Config(training=plain)
    assert len({config, Config(), Config(training=TrainingConfig(num_epochs=3))}) == 2
    with pytest.raises(ValidationError, match="frozen"):
        config.training.num_epochs = 4


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_documented(section: str) -> None:
    kind = SECTIONS[section]
    assert all(name in (kind.__doc__ or "") for name in kind.model_fields)


def attributes() -> Iterator[str]:
    """The attributes that the package reads of any value, outside the module of the settings."""
    for path in Path(phaita.__file__).parent.rglob("*.py"):
        if path.name != "config.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            yield from (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def test_no_setting_is_left_unread() -> None:
    settings = {name for kind in SECTIONS.values() for name in kind.model_fields}
    # It must be what the data has, which is checked where it is set; there is nothing left to read.
    assert settings - set(attributes()) == {"num_respiratory_conditions"}


NAMES = st.text("abcXYZ019/-_. \u00e4'\":#", min_size=1, max_size=30)
CONFIGS = st.builds(
    Config,
    model=st.integers(1, 16).flatmap(
        lambda heads: st.builds(
            ModelConfig,
            deberta_model=NAMES,
            mistral_model=NAMES,
            use_quantization=st.booleans(),
            realism_encoders=st.lists(NAMES, min_size=1, max_size=3),
            perplexity_model=NAMES,
            max_length=st.integers(8, 10**6),
            dropout=st.floats(0, 1, exclude_max=True),
            mc_dropout=st.booleans(),
            gnn_hidden=st.integers(1, 100).map(lambda width: width * heads),
            gnn_heads=st.just(heads),
        )
    ),
    training=st.builds(
        TrainingConfig,
        num_epochs=st.integers(1),
        batch_size=st.integers(1),
        learning_rate=st.floats(0, 1, exclude_min=True, exclude_max=True),
        weight_decay=st.floats(0, 1, exclude_max=True),
        patience=st.integers(1),
        seed=st.integers(0, 2**64),
    ),
    data=st.builds(DataConfig, samples_per_condition=st.integers(1)),
)


@settings(max_examples=20)
@given(config=CONFIGS)
def test_yaml_gives_back_what_it_took(config: Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    config.to_yaml(path)
    assert Config.from_yaml(path) == config
    assert Config.from_yaml(str(path)) == config


def test_the_file_holds_every_setting_by_name(tmp_path: Path) -> None:
    Config().to_yaml(tmp_path / "config.yaml")
    content = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert {name: set(section) for name, section in content.items()} == {
        name: set(kind.model_fields) for name, kind in SECTIONS.items()
    }


READABLE: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("# nothing set\n", {}),
    ("{}", {}),
    ("training: {num_epochs: 3}", {"training": TrainingConfig(num_epochs=3)}),
    # YAML reads a number with an exponent and no point as a text.
    ("training: {learning_rate: 5e-4}", {"training": TrainingConfig(learning_rate=0.0005)}),
    ("model: {dropout: 0}", {"model": ModelConfig(dropout=0.0)}),
    ("model: {realism_encoders: [a/b]}", {"model": ModelConfig(realism_encoders=("a/b",))}),
]


@pytest.mark.parametrize(("text", "fields"), READABLE)
def test_what_a_file_leaves_out_has_its_default(text: str, fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert Config.from_yaml(path) == Config(**fields)


BROKEN = [
    ("training: {num_epoch: 3}", "training.num_epoch: unknown key"),
    ("trainings: {num_epochs: 3}", "trainings: unknown key"),
    ("training: {num_epochs: 0}", "training.num_epochs: "),
    ("training: {num_epochs: 2.5}", "training.num_epochs: "),
    ("training: {num_epochs: true}", "training.num_epochs: "),
    ("training: {learning_rate: .nan}", "training.learning_rate: "),
    ("training: {learning_rate: .inf}", "training.learning_rate: "),
    ("training: {seed: -1}", "training.seed: "),
    ("training: 3", "training: "),
    ("model: {dropout: 1.0}", "model.dropout: "),
    ("model: {deberta_model: ''}", "model.deberta_model: "),
    ("model: {realism_encoders: []}", "model.realism_encoders: "),
    ("model: {realism_encoders: [a, 3]}", "model.realism_encoders[1]: "),
    ("model: {gnn_hidden: 10, gnn_heads: 4}", "model: gnn_heads (4) must divide gnn_hidden (10)"),
    ("data: {num_respiratory_conditions: 9}", "data.num_respiratory_conditions: the data has 10 conditions, not 9"),
    ("- a list", "\n  Input should be"),
    ("just a text", "\n  Input should be"),
    ("model: [", "not YAML"),
    ("model: !!python/object/apply:os.getcwd []", "not YAML"),
]


@pytest.mark.parametrize(("text", "place"), BROKEN)
def test_a_bad_file_is_told_by_name_and_key(text: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidFile) as caught:
        Config.from_yaml(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("training: {num_epochs: 0, oops: 1}\nmodel: {dropout: 2}\n", encoding="utf-8")
    with pytest.raises(InvalidFile) as caught:
        Config.from_yaml(path)
    assert all(key in str(caught.value) for key in ("training.num_epochs", "training.oops", "model.dropout"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"nothing\.yaml: can't be read"):
        Config.from_yaml(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("kind", [Config, *SECTIONS.values()])
def test_unknown_names_are_refused_in_code_too(kind: type[BaseModel]) -> None:
    with pytest.raises(ValueError, match="nothing_of_the_kind"):
        kind(nothing_of_the_kind=1)
