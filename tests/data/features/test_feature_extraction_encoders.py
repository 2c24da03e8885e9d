import json

import numpy as np
import pytest
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, VideoMAEForPreTraining

from feature_extraction_examples import PICTURES, RESNET, VIDEOMAE
from hf_vidmodels.data.features.model_preprocessing import read_transformers_preprocessing
from hf_vidmodels.data.features.snippet_encoders import load_encoder
from hf_vidmodels.data.features.stream_settings import StreamSettings

TINY_VIT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
VIDEO_MODELS = {
    "videomae": VIDEOMAE,
    "timesformer": {"model_type": "timesformer", "image_size": 16, "patch_size": 8, "num_frames": 4, **TINY_VIT},
    "vivit": {
        "model_type": "vivit",
        "image_size": 16,
        "num_frames": 4,
        "tubelet_size": [2, 8, 8],
        **TINY_VIT,
    },
    "vjepa2": {
        "model_type": "vjepa2",
        "crop_size": 16,
        "patch_size": 8,
        "frames_per_clip": 4,
        "tubelet_size": 2,
        "pred_hidden_size": 8,
        "pred_num_hidden_layers": 1,
        "pred_num_attention_heads": 2,
        **TINY_VIT,
    },
}


@pytest.fixture
def clips():
    return torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def random_settings(config, **fields):
    return {"model_config": config, "random_init_seed": 0, **PICTURES, **fields}


def save_with_preprocessor(model, folder, **fields):
    model.save_pretrained(folder)
    described = {
        "size": {"shortest_edge": 16},
        "crop_size": {"height": 16, "width": 16},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(described | fields))
    return folder


@pytest.mark.parametrize("name", VIDEO_MODELS)
def test_video_models_of_transformers_give_the_mean_of_their_last_hidden_state(name, clips):
    encoder, settings = load_encoder(random_settings(VIDEO_MODELS[name], size=16), "rgb", num_frames=8)
    assert settings.num_frames == 4 and settings.pooling == "mean" and encoder.feature_size == 8
    with torch.inference_mode():
        features = encoder(clips)
        hidden = encoder.network(**{encoder.network.main_input_name: clips}).last_hidden_state
    assert features.shape == (2, 8)
    assert torch.allclose(features, hidden.mean(1))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_image_models_are_averaged_over_the_frames(pooling, clips):
    encoder, settings = load_encoder(random_settings(RESNET, pooling=pooling), "rgb", num_frames=8)
    assert settings.num_frames == 8
    pooled = {"mean": lambda maps: maps.mean((2, 3)), "max": lambda maps: maps.amax((2, 3))}[pooling]
    with torch.inference_mode():
        features = encoder(clips)
        each = torch.stack([pooled(encoder.network(clip).last_hidden_state).mean(0) for clip in clips])
    assert torch.allclose(features, each, atol=1e-6)


def test_a_classifier_gives_what_its_head_receives_unless_told_otherwise(tmp_path, clips):
    model = AutoModelForVideoClassification.from_config(AutoConfig.for_model(**VIDEOMAE)).eval()
    save_with_preprocessor(model, tmp_path)
    encoder, settings = load_encoder({"model": str(tmp_path)}, "rgb", num_frames=8)
    assert settings.pooling == "classifier_input"
    with torch.inference_mode():
        hidden = model.videomae(clips).last_hidden_state.mean(1)
        assert torch.allclose(encoder(clips), model.fc_norm(hidden), atol=1e-6)
        assert torch.allclose(model.classifier(encoder(clips)), model(clips).logits, atol=1e-6)
        mean_encoder, _ = load_encoder({"model": str(tmp_path), "pooling": "mean"}, "rgb", num_frames=8)
        assert torch.allclose(mean_encoder(clips), hidden, atol=1e-6)


def test_a_network_without_a_head_has_no_input_of_one(tmp_path):
    save_with_preprocessor(VideoMAEForPreTraining(AutoConfig.for_model(**VIDEOMAE)), tmp_path)
    with pytest.raises(ValueError, match="rgb stream .* VideoMAEForPreTraining without a classification head"):
        load_encoder({"model": str(tmp_path), "pooling": "classifier_input"}, "rgb", num_frames=8)


def test_pictures_are_prepared_as_the_model_s_repository_says(tmp_path):
    save_with_preprocessor(AutoModel.from_config(AutoConfig.for_model(**VIDEOMAE)), tmp_path)
    _, settings = load_encoder({"model": str(tmp_path), "image_std": [1, 1, 1]}, "rgb", num_frames=8)
    assert (settings.size, settings.crop_size, settings.image_mean) == (16, 16, [0.5, 0.5, 0.5])
    assert settings.image_std == [1, 1, 1]
    _, settings = load_encoder({"model": str(tmp_path)}, "flow", num_frames=8)
    assert (settings.image_mean, settings.image_std, settings.flow_bound) == ([0, 0, 0], [1, 1, 1], 20)


def test_a_processor_s_own_scale_is_taken_over(tmp_path):
    described = {
        "size": {"shortest_edge": 18},
        "do_center_crop": False,
        "rescale_factor": 1 / 127.5,
        "offset": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.6, 0.7],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(described))
    found = read_transformers_preprocessing(str(tmp_path), AutoConfig.for_model("resnet"))
    assert (found["size"], found["crop_size"]) == (18, 18)
    pixels = np.array([0.0, 100.0, 255.0])
    ours = (pixels / 255 - np.array(found["image_mean"])) / np.array(found["image_std"])
    np.testing.assert_allclose(ours, (pixels / 127.5 - 1 - np.array([0.5, 0.4, 0.3])) / np.array([0.5, 0.6, 0.7]))


def test_unknown_mean_and_deviation_are_asked_for(tmp_path):
    AutoModel.from_config(AutoConfig.for_model(**VIDEOMAE)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not say image_mean, image_std"):
        load_encoder({"model": str(tmp_path)}, "rgb", num_frames=8)


def test_torchvision_models_give_what_their_head_receives(tmp_path, clips):
    with torch.device("meta"):
        network = torchvision.models.get_model("mc3_18").eval()
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        value.fill_(1) if "var" in name else value.copy_(torch.randn(value.shape, generator=generator) * 0.05)
    received = []
    network.fc.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    fields = {"model": "torchvision:mc3_18", "size": 16, "crop_size": 16}
    encoder, settings = load_encoder({**fields, "weights": str(tmp_path / "weights.safetensors")}, "rgb", num_frames=4)
    assert settings.image_mean == pytest.approx([0.43216, 0.394666, 0.37645])
    with torch.inference_mode():
        network(clips.transpose(1, 2))
        assert torch.allclose(encoder(clips), received[0], atol=1e-6)

    encoder.save(tmp_path / "checkpoint" / "feature_extractor" / "rgb")
    again, _ = load_encoder(
        {**fields, "subfolder": "feature_extractor/rgb"}, "rgb", num_frames=4, checkpoint=str(tmp_path / "checkpoint")
    )
    assert again.digest() == encoder.digest()

    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    (tmp_path / "no.safetensors").write_bytes(b"no")
    for name, sentence in (
        ("other", "does not hold the weights of torchvision's mc3_18"),
        ("no", "is not a safetensors file"),
        ("absent", "there is no weights file"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=sentence):
            load_encoder({**fields, "weights": str(tmp_path / f"{name}.safetensors")}, "rgb", num_frames=4)


def test_a_network_that_cannot_be_written_leaves_the_files_there_were(tmp_path, monkeypatch):
    encoder, _ = load_encoder(random_settings(RESNET), "rgb", num_frames=2)
    encoder.save(tmp_path / "rgb")
    before = {path.name: path.read_bytes() for path in (tmp_path / "rgb").iterdir()}

    def fail(folder):
        (folder / "config.json").write_text("{}")
        raise SafetensorError("IoError: No space left on device")

    monkeypatch.setattr(encoder.network, "save_pretrained", fail)
    with pytest.raises(OSError, match="cannot be written to .*rgb.*No space left"):
        encoder.save(tmp_path / "rgb")
    assert {path.name: path.read_bytes() for path in (tmp_path / "rgb").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["rgb"]


def test_random_weights_follow_their_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    digests = [
        load_encoder(random_settings(RESNET, random_init_seed=seed), "rgb", num_frames=2)[0].digest()
        for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]
    assert torch.rand(1) == expected


def test_frozen_networks_take_no_gradients_and_stay_in_evaluation():
    encoder, _ = load_encoder(random_settings(RESNET), "rgb", num_frames=2)
    assert not encoder.training and not any(value.requires_grad for value in encoder.parameters())


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "needs one of model, model_config or subfolder, got none"),
        ({"model": "a/b", "model_config": RESNET}, "got model and model_config"),
        ({"model_config": RESNET}, "model_config needs random_init_seed"),
        ({"model_config": {"hidden_size": 3}, "random_init_seed": 0}, "needs a model_type"),
        ({"model": "torchvision:r3d_18"}, "needs either weights .* or random_init_seed"),
        ({"model": "torchvision:r3d_18", "weights": "w", "random_init_seed": 0}, "got weights and random_init_seed"),
        ({"model": "a/b", "random_init_seed": 0}, "contradicts 'a/b', which has weights"),
        ({"model": "a/b", "weights": "w.safetensors"}, "weights is for torchvision models"),
        ({"subfolder": "../other"}, "must lie inside its repository"),
        ({"model": "a/b", "crop_size": 20, "size": 10}, "crop_size 20 is larger than size 10"),
        ({"model": "a/b", "num_frames": 0}, "num_frames must be positive, got 0"),
        ({"model": "a/b", "image_std": [1, 0, 1]}, "image_std must be three positive numbers"),
        ({"model": "a/b", "pooling": "min"}, "pooling must be one of mean, max, classifier_input, got 'min'"),
        ({"modle": "a/b"}, "no field 'modle'; did you mean 'model'"),
    ],
)
def test_contradicting_settings_are_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        StreamSettings.from_dict(fields)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"model": "torchvision:r3d_19", "random_init_seed": 0}, "no video model 'r3d_19'; there are: mc3_18"),
        ({"model": "./absent/folder/x"}, "there is no model folder ./absent/folder/x"),
        (random_settings({"model_type": "rsnet"}), "transformers has no model_type 'rsnet'"),
        ({"subfolder": "feature_extractor/rgb"}, "which checkpoint is not known"),
        (random_settings(VIDEOMAE, crop_size=24), "does not take 4 frames of 24x24 pixels .*16"),
        (random_settings({"model_type": "bert", **TINY_VIT}), "BertModel takes input_ids, not pictures"),
        (random_settings(RESNET, flow_bound=3), "flow_bound is for the flow stream"),
        (random_settings(RESNET, pooling="classifier_input"), "no linear layer for its 2 classes"),
    ],
)
def test_networks_that_cannot_be_had_are_named_with_their_stream(fields, sentence):
    with pytest.raises(
        (ValueError, OSError), match=f"rgb stream of the feature extractor cannot be made: .*{sentence}"
    ):
        load_encoder(fields, "rgb", num_frames=4)
