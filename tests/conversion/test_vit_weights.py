"""Published layouts of plain vision transformers give the encoder the same answers that they give at home."""

import argparse

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from transformers import (
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

from hf_vidmodels import MalForMaskLabeling
from hf_vidmodels.configuration.configuration_vit import VisionTransformerConfig
from hf_vidmodels.conversion.vit_weights import load_encoder_weights
from hf_vidmodels.modeling.backbones.vit import VisionTransformer
from method_examples import mal_config

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
HF_SIZES = {**SIZES, "intermediate_size": 96, "image_size": 64, "patch_size": 16, "layer_norm_eps": 1e-6}


def encoder(**settings):
    torch.manual_seed(3)
    return VisionTransformer(VisionTransformerConfig(**({**SIZES, "pretrain_image_size": 64} | settings))).eval()


def timm_network(**settings):
    torch.manual_seed(5)
    sizes = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 7}
    return shaken(TimmVisionTransformer(**(sizes | settings)))


def shaken(network):
    """Move every weight from its start, so that none of them is a zero or a one that hides a mistake."""
    torch.manual_seed(6)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture
def pixel_values():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def tokens(network, pixel_values):
    with torch.no_grad():
        return network(pixel_values).last_hidden_state


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


def test_timm_weights_answer_as_at_home(pixel_values):
    network, ours = timm_network(), encoder()
    report = load_encoder_weights(ours, network)
    with torch.no_grad():
        close(tokens(ours, pixel_values), network.forward_features(pixel_values))
    assert report.missing == []
    assert report.ignored == ["head.weight", "head.bias"]
    assert report.adapted == []


@pytest.mark.parametrize("kind", [ViTModel, Dinov2Model])
def test_transformers_classes_answer_as_at_home(kind, pixel_values, tmp_path):
    config = {ViTModel: ViTConfig(**HF_SIZES), Dinov2Model: Dinov2Config(**HF_SIZES)}[kind]
    network, ours = shaken(kind(config)), encoder()
    network.save_pretrained(tmp_path)
    report = load_encoder_weights(ours, tmp_path)
    close(tokens(ours, pixel_values), tokens(network, pixel_values))
    assert report.missing == []
    has_scales = kind is Dinov2Model
    assert report.adapted == (["4 layer scales multiplied into the layers before them"] if has_scales else [])


def test_the_file_of_a_masked_autoencoder_fills_everything_and_its_decoder_is_named_as_ignored(tmp_path):
    sizes = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 4}
    network = shaken(ViTMAEForPreTraining(ViTMAEConfig(**HF_SIZES, **sizes)))
    network.save_pretrained(tmp_path)
    ours = encoder()
    report = load_encoder_weights(ours, tmp_path / "model.safetensors")
    assert report.missing == []
    assert report.ignored
    assert all(name.startswith("decoder.") for name in report.ignored)
    state = ours.state_dict()
    attention = network.vit.layers[1].attention
    joined = torch.cat([part.weight for part in (attention.q_proj, attention.k_proj, attention.v_proj)])
    assert torch.equal(state["blocks.1.attention.qkv.weight"], joined)


def test_released_files_with_options_beside_the_weights_are_read(tmp_path, pixel_values):
    network, ours = timm_network(), encoder()
    torch.save({"model": network.state_dict(), "args": argparse.Namespace(epochs=3)}, tmp_path / "mae.pth")
    load_encoder_weights(ours, tmp_path / "mae.pth")
    with torch.no_grad():
        close(tokens(ours, pixel_values), network.forward_features(pixel_values))


def test_prefixed_weights_of_momentum_contrast_are_found_and_the_online_encoder_is_taken(pixel_values):
    online, momentum = timm_network(), encoder()
    both = {f"module.base_encoder.{key}": value for key, value in online.state_dict().items()}
    both |= {f"module.momentum_encoder.{key}": value * 2 for key, value in online.state_dict().items()}
    ours = momentum
    report = load_encoder_weights(ours, {"state_dict": dict(reversed(both.items()))})
    assert report.adapted == ["took the weights under 'module.base_encoder.'"]
    with torch.no_grad():
        close(tokens(ours, pixel_values), online.forward_features(pixel_values))


def test_the_row_of_a_distillation_token_is_left_out(pixel_values):
    for network in (
        shaken(DeiTModel(DeiTConfig(**HF_SIZES))),
        shaken(timm.models.deit.VisionTransformerDistilled(img_size=64, embed_dim=24, depth=2, num_heads=3)),
    ):
        ours, state = encoder(), network.state_dict()
        report = load_encoder_weights(ours, network)
        assert report.adapted == ["of 18 position rows the distillation token's row was left out"]
        assert any("dist" in name for name in report.ignored)
        table = next(value for name, value in state.items() if "pos" in name and value.dim() == 3)
        assert torch.equal(ours.state_dict()["embeddings.position_embeddings"], table[:, [0, *range(2, 18)]])


def test_tables_without_a_class_row_and_layer_scales_answer_as_at_home(pixel_values):
    network, ours = timm_network(no_embed_class=True, init_values=0.5), encoder()
    report = load_encoder_weights(ours, network)
    with torch.no_grad():
        close(tokens(ours, pixel_values), network.forward_features(pixel_values))
    assert "of 16 position rows the class token's row is zero, it had none" in report.adapted


def test_positions_of_another_grid_are_resized_and_said_so():
    network, ours = timm_network(img_size=96), encoder()
    report = load_encoder_weights(ours, network)
    assert report.adapted == ["positions were resized from 6 x 6 to 4 x 4"]
    assert torch.equal(ours.embeddings.position_embeddings[:, :1], network.pos_embed[:, :1])


def test_filters_of_smaller_patches_answer_to_enlarged_patches_as_before():
    network, ours = timm_network(img_size=56, patch_size=14), encoder()
    report = load_encoder_weights(ours, network)
    assert report.adapted == ["patch filters were resampled from 14 x 14 to 16 x 16 pixels"]
    patch = torch.randn(1, 3, 14, 14, generator=torch.Generator().manual_seed(2))
    enlarged = torch.nn.functional.interpolate(patch, (16, 16), mode="bicubic", align_corners=False)
    with torch.no_grad():
        embed = ours.embeddings.patch_embeddings
        close(embed(enlarged), network.patch_embed.proj(patch))


def test_a_convolutional_stem_keeps_its_start_and_the_report_says_so():
    ours = encoder(patch_embed_type="conv_stem")
    report = load_encoder_weights(ours, timm_network())
    assert {name.rpartition(".")[0].rpartition(".")[0] for name in report.missing} == {"embeddings.patch_embeddings"}
    assert {"patch_embed.proj.weight", "patch_embed.proj.bias"} <= set(report.ignored)


def test_student_and_teacher_get_the_same_encoder():
    model = MalForMaskLabeling(mal_config(**SIZES))
    network = timm_network()
    load_encoder_weights(model, network)
    for encoder_ in (model.student.encoder, model.teacher.encoder):
        assert torch.equal(encoder_.blocks[1].attention.qkv.weight, network.blocks[1].attn.qkv.weight)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: {"conv1.weight": torch.zeros(3)}, "none of a plain vision transformer: no patch embedding"),
        (lambda state: {key: value for key, value in state.items() if "blocks" not in key}, "no block was loaded"),
        (
            lambda state: {key: value for key, value in state.items() if "blocks.1." not in key},
            r"the weights are of 1 blocks but the model has 2 \(num_hidden_layers\)",
        ),
        (
            lambda state: {key: value for key, value in state.items() if "fc1.bias" not in key},
            r"lack parts of the model's blocks, for example blocks\.0\.mlp\.0\.bias",
        ),
        (
            lambda state: state | {"blocks.0.mlp.fc1.weight": torch.zeros(8, 24)},
            r"blocks\.0\.mlp\.fc1\.weight has shape \(8, 24\) but the model's .* has \(96, 24\)",
        ),
        (lambda state: state | {"pos_embed": torch.zeros(1, 21, 24)}, "21 rows, which is no square grid"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_encoder_weights(encoder(), change(timm_network().state_dict()))
