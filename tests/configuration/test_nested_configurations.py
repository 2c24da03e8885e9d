"""Nested configurations: how they are given, read, saved and merged."""

import logging
from typing import ClassVar

import pytest
from transformers import ResNetConfig

from hf_vidmodels import MalConfig, SttsConfig
from hf_vidmodels.configuration.configuration_backbones import MvitConfig, VideoSwinConfig
from hf_vidmodels.configuration.configuration_base import VidModelsConfig, strict_config
from hf_vidmodels.configuration.configuration_vit import VisionTransformerConfig


@strict_config
class TwoNetworksConfig(VidModelsConfig):
    """A method with two networks, one of them of transformers."""

    model_type = "two_networks"
    sub_configs: ClassVar = {"picture_config": ResNetConfig, "token_config": VisionTransformerConfig}

    width: int = 3
    picture_config: ResNetConfig | dict | None = None
    token_config: VisionTransformerConfig | dict | None = None


def test_a_nested_configuration_is_given_as_object_as_dict_or_flat():
    as_object = MalConfig(encoder_config=VisionTransformerConfig(hidden_size=96, num_attention_heads=4))
    as_dict = MalConfig(encoder_config={"hidden_size": 96, "num_attention_heads": 4})
    flat = MalConfig(hidden_size=96, num_attention_heads=4)
    assert as_object.to_dict() == as_dict.to_dict() == flat.to_dict()
    assert isinstance(flat.encoder_config, VisionTransformerConfig)


def test_the_model_type_chooses_among_the_classes_of_a_nested_configuration():
    swin = SttsConfig(backbone_config={"model_type": "hfvid_video_swin", "num_frames": 16})
    assert isinstance(swin.backbone_config, VideoSwinConfig) and swin.backbone_type == "video_swin"
    assert SttsConfig(backbone_config=VideoSwinConfig()).backbone_type == "video_swin"
    assert isinstance(SttsConfig(backbone_type="mvit").backbone_config, MvitConfig)
    with pytest.raises(ValueError, match="'mvit' needs a backbone_config of model_type 'hfvid_mvit', got 'resnet'"):
        SttsConfig(backbone_config={"model_type": "resnet"})
    with pytest.raises(ValueError, match="model_type of encoder_config must be 'vision_transformer', got 'resnet'"):
        MalConfig(encoder_config={"model_type": "resnet"})


def test_fields_of_a_nested_configuration_are_read_and_written_by_their_flat_names():
    config = SttsConfig.from_preset("tiny-mvit")
    assert (config.num_frames, config.hidden_size) == (8, 8)
    config.num_frames = 16
    assert config.backbone_config.num_frames == 16 and "num_frames" not in vars(config)
    with pytest.raises(AttributeError, match="'MvitConfig' object has no attribute 'window_size'"):
        config.window_size  # noqa: B018
    assert not hasattr(config, "vocab_size")


def test_a_preset_keeps_what_is_not_changed_of_its_network():
    flat = SttsConfig.from_preset("tiny-mvit", num_frames=4, sigma=0.2)
    nested = SttsConfig.from_preset("tiny-mvit", backbone_config={"num_frames": 4}, sigma=0.2)
    assert flat.to_dict() == nested.to_dict()
    assert (nested.num_frames, nested.hidden_size, nested.sigma) == (4, 8, 0.2)


def test_a_file_is_opened_with_changes_to_its_network_which_are_checked(tmp_path):
    SttsConfig.from_preset("tiny-mvit").save_pretrained(tmp_path)
    changed = SttsConfig.from_pretrained(tmp_path, drop_path_rate=0.3, backbone_config={"hidden_dropout_prob": 0.1})
    assert (changed.drop_path_rate, changed.hidden_dropout_prob, changed.hidden_size) == (0.3, 0.1, 8)
    with pytest.raises(ValueError, match=r"drop_path_rate must be in \[0, 1\), got 1.5"):
        SttsConfig.from_pretrained(tmp_path, drop_path_rate=1.5)


def test_the_attention_implementation_reaches_the_network():
    config = MalConfig(attn_implementation="eager")
    assert config.encoder_config._attn_implementation == "eager"


def test_an_unknown_field_of_a_network_is_named_with_the_nearest_one(caplog):
    with caplog.at_level(logging.WARNING):
        MalConfig(encoder_config={"hiden_size": 64})
        MalConfig(num_hiden_layers=3)
    assert "VisionTransformerConfig has no field 'hiden_size'" in caplog.text and "'hidden_size'?" in caplog.text
    assert "MalConfig has no field 'num_hiden_layers'" in caplog.text and "'num_hidden_layers'?" in caplog.text


def test_a_field_of_the_other_backbone_is_told_unless_it_is_its_default(caplog):
    SttsConfig(window_size=[8, 7, 7])
    assert not caplog.text
    SttsConfig(window_size=[4, 7, 7])
    assert "MvitConfig has no field 'window_size'" in caplog.text


def test_a_name_that_two_networks_have_must_say_which():
    with pytest.raises(ValueError, match="hidden_act is a field of picture_config and of token_config"):
        TwoNetworksConfig(hidden_act="gelu")
    config = TwoNetworksConfig(embedding_size=8, token_config={"hidden_act": "relu"}, patch_size=8)
    assert (config.picture_config.embedding_size, config.token_config.patch_size) == (8, 8)
    assert (config.picture_config.hidden_act, config.token_config.hidden_act) == ("relu", "relu")
    assert not hasattr(config, "hidden_act")


def test_two_networks_survive_json(tmp_path):
    config = TwoNetworksConfig(width=5, embedding_size=8, patch_size=8, num_labels=4)
    config.save_pretrained(tmp_path)
    assert TwoNetworksConfig.from_pretrained(tmp_path).to_dict() == TwoNetworksConfig(**config.to_dict()).to_dict()
    assert TwoNetworksConfig.from_pretrained(tmp_path).picture_config.embedding_size == 8


def test_an_older_name_is_read_as_the_field_that_it_became():
    assert MvitConfig(attention_dropout_prob=0.2).attention_probs_dropout_prob == 0.2
    config = SttsConfig(attention_dropout_prob=0.2)
    assert config.backbone_config.attention_probs_dropout_prob == config.attention_dropout_prob == 0.2
    assert "attention_dropout_prob" not in config.to_dict()["backbone_config"]
