import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, ResNetForImageClassification

from hf_vidmodels import SttsForVideoClassification
from hf_vidmodels.commands.opened_models import existing_device, open_model
from hf_vidmodels.modeling.modeling_l2_caf import L2CafForObjectLocalization
from hf_vidmodels.pipelines.mask_labeling import MaskLabelingPipeline
from hf_vidmodels.pipelines.temporal_action_localization import TemporalActionLocalizationPipeline
from hf_vidmodels.training.initial_weights import take_weights
from method_examples import EXAMPLES, l2_caf_config, mal_config, stts_config


@pytest.fixture(params=["missing", "renamed", "of another shape"])
def harmed(request):
    """A function that harms one weight of a saved model and gives its name."""

    def harm(folder, part):
        path = folder / "model.safetensors"
        weights = load_file(path)
        name = next(name for name in sorted(weights) if part in name)
        value = weights.pop(name)
        if request.param == "renamed":
            weights[f"other.{name}"] = value
        if request.param == "of another shape":
            weights[name] = torch.zeros(7, 5, 3)
        save_file(weights, path, metadata={"format": "pt"})
        return name

    return harm


def saved(config, folder):
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", EXAMPLES)
def test_a_checkpoint_that_lacks_weights_does_not_open_to_answer(method, harmed, tmp_path):
    folder = saved(EXAMPLES[method].config(), tmp_path)
    assert not open_model(str(folder), "cpu").training
    name = harmed(folder, "weight")
    with pytest.raises(ValueError, match=f"lacks the weights {name}, or has them in another shape"):
        open_model(str(folder))


@pytest.mark.parametrize(
    ("method", "pipeline"), [("mal", MaskLabelingPipeline), ("asm_loc", TemporalActionLocalizationPipeline)]
)
def test_a_pipeline_takes_a_model_with_random_weights_only_once_it_is_trained(method, pipeline, tmp_path):
    folder = saved(EXAMPLES[method].config(), tmp_path)
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)[:5]
    save_file({k: v for k, v in weights.items() if k not in names}, folder / "model.safetensors", {"format": "pt"})
    model = AutoModel.from_pretrained(folder)
    assert model.random_weights == tuple(names)
    with pytest.raises(ValueError, match=f"lacks the weights {', '.join(names[:3])} and 2 more"):
        pipeline(model)
    assert pipeline(model.train().eval()).model is model


def test_a_network_that_follows_from_the_other_one_is_not_random(tmp_path):
    saved(mal_config(use_student=False), tmp_path)
    assert AutoModel.from_pretrained(tmp_path, use_student=True).random_weights == ()


def test_training_for_other_labels_makes_a_new_head_and_says_so(tmp_path, caplog):
    saved(stts_config(num_labels=3), tmp_path)
    told = "classifier.bias, classifier.weight"
    taken = take_weights(SttsForVideoClassification(stts_config(num_labels=5)), str(tmp_path), ())
    assert f"2 start afresh ({told})" in taken.sentence()
    model = AutoModel.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert ", ".join(model.random_weights) == told and model.classifier.out_features == 5


def test_training_does_not_start_from_what_another_checkpoint_lacks(harmed, tmp_path):
    saved(stts_config(), tmp_path)
    name = harmed(tmp_path, "backbone.norm.weight")
    with pytest.raises(ValueError, match=f"do not fit the model: {name} are missing"):
        take_weights(SttsForVideoClassification(stts_config()), str(tmp_path), ())


def test_a_classifier_without_its_head_is_not_explained(harmed, tmp_path):
    ResNetForImageClassification(l2_caf_config().network_config).save_pretrained(tmp_path)
    name = harmed(tmp_path, "classifier.1.weight")
    with pytest.raises(ValueError, match=f"lacks the weights {name}"):
        L2CafForObjectLocalization.from_network(str(tmp_path))


def test_damaged_weights_and_devices_that_do_not_exist_are_one_sentence(tmp_path):
    saved(mal_config(), tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ValueError, match=r"the weights of .* are damaged \(.*\); copy them again"):
        open_model(str(tmp_path))
    for name in ("cuda:99", "gpu", "meta", "xla:0"):
        with pytest.raises(ValueError, match=r"there is no device|computes nothing"):
            existing_device(name)
    assert existing_device("cpu") == torch.device("cpu")
