import pytest
import torch
from transformers import ViTConfig, ViTModel

from hf_vidmodels import SttsConfig, SttsForVideoClassification
from hf_vidmodels.training.initial_weights import take_weights
from hf_vidmodels.training.recipes.stts_schedules import SELECTOR_MODULES


def make_model(**changes):
    return SttsForVideoClassification(SttsConfig.from_preset("tiny-mvit", num_labels=5, **changes))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "full"
    torch.manual_seed(0)
    make_model(selection_mode="none").save_pretrained(folder)
    return folder


def test_only_scorers_are_new_and_all_else_is_taken_over(full):
    model = make_model()
    taken = take_weights(model, str(full), SELECTOR_MODULES)
    source = SttsForVideoClassification.from_pretrained(full).state_dict()
    for name, value in model.state_dict().items():
        assert (name in taken.new) == name.startswith(SELECTOR_MODULES), name
        assert name in taken.new or torch.equal(value, source[name]), name
    assert taken.unused == [] and taken.taken == len(source)
    sentence = taken.sentence()
    assert f"{len(taken.new)} start afresh (spatial_selectors.0." in sentence and "left out" not in sentence


def test_scorers_may_also_be_left_out(full, tmp_path):
    make_model().save_pretrained(tmp_path)
    taken = take_weights(make_model(selection_mode="uniform"), str(tmp_path), SELECTOR_MODULES)
    assert taken.new == [] and all(name.startswith(SELECTOR_MODULES) for name in taken.unused)
    assert "are left out" in taken.sentence()


@pytest.mark.parametrize("classes", [{0: "a", 1: "b"}, {number: f"other {number}" for number in range(5)}])
def test_the_classifier_of_other_classes_starts_afresh(full, classes):
    label2id = {name: number for number, name in classes.items()}
    model = SttsForVideoClassification(SttsConfig.from_preset("tiny-mvit", id2label=classes, label2id=label2id))
    before = model.classifier.weight.clone()
    assert {"classifier.weight", "classifier.bias"} < set(take_weights(model, str(full), SELECTOR_MODULES).new)
    assert torch.equal(model.classifier.weight, before)


def test_another_network_or_method_is_refused(full, tmp_path):
    with pytest.raises(ValueError, match=r"the weights of .*full do not fit the model: backbone\.blocks\.0"):
        take_weights(make_model(hidden_size=16), str(full), SELECTOR_MODULES)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTModel(ViTConfig(**small)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a vit model, but a stts model is trained"):
        take_weights(make_model(), str(tmp_path), SELECTOR_MODULES)
