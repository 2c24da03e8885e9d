import pytest
import torch

from hf_vidmodels.configuration.configuration_backbones import VideoSwinConfig
from hf_vidmodels.modeling.backbones.video_swin import PatchMerging, VideoSwinModel
from model_checks import assert_checkpointing_changes_no_gradient, assert_fused_and_open_attention_agree


def model_of(**overrides):
    settings = {
        "num_frames": 8,
        "image_size": 32,
        "hidden_size": 8,
        "depths": [2, 2],
        "num_attention_heads": [1, 2],
        "window_size": [2, 3, 3],
        "drop_path_rate": 0.0,
    }
    torch.manual_seed(0)
    return VideoSwinModel(VideoSwinConfig(**(settings | overrides))).eval()


@pytest.fixture
def clips():
    return torch.randn(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_output_has_its_documented_shapes(clips):
    output = model_of()(clips, output_hidden_states=True, output_attentions=True)
    assert output.last_hidden_state.shape == (2, 4 * 4 * 4, 16)
    assert output.feature_map.shape == (2, 16, 4, 4, 4)
    torch.testing.assert_close(output.pooler_output, output.feature_map.mean((2, 3, 4)))
    pooled = model_of()(clips, pooled_only=True)
    assert pooled.last_hidden_state is None
    torch.testing.assert_close(pooled.pooler_output, output.pooler_output)
    assert [state.shape[1] for state in output.hidden_states] == [64, 64]
    assert [weights.shape for weights in output.attentions] == [(36, 1, 18, 18)] * 2 + [(16, 2, 18, 18)] * 2


def test_the_published_base_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = VideoSwinModel(VideoSwinConfig.from_preset("video-swin-b"))
    assert sum(parameter.numel() for parameter in model.parameters()) == 87_638_984


def test_clips_of_any_size_pass_and_padding_is_cropped():
    output = model_of()(torch.randn(1, 5, 3, 30, 47))
    assert output.grid == (3, 4, 6)


def test_clips_of_a_batch_do_not_mix(clips):
    model = model_of()
    torch.testing.assert_close(model(clips).pooler_output[1:], model(clips[1:]).pooler_output)


def test_shifted_windows_carry_news_across_their_borders():
    model = model_of(depths=[2], num_attention_heads=[1], window_size=[1, 4, 4])
    clips = torch.zeros(1, 2, 3, 32, 32)
    touched = clips.clone()
    touched[:, :, :, :4, :4] = 1.0
    changed = (model(touched).feature_map - model(clips).feature_map).abs().amax((0, 1, 2)) > 0
    # The corner token belongs to the first window, whose tokens the shifted windows share with their neighbours.
    assert changed[:4, :4].all() and changed[4:6, :4].any()
    # Windows that the roll joined from opposite ends keep apart up to exp(-100).
    assert not changed[6:, 6:].any()


def test_filters_exchange_the_tokens_before_a_stage(clips):
    def keep_first_frame(tokens, grid):
        return tokens[:, : grid[1] * grid[2]], (1, *grid[1:])

    output = model_of()(clips, {1: keep_first_frame}, output_hidden_states=True)
    assert output.grid == (1, 4, 4)
    assert [state.shape[1] for state in output.hidden_states] == [64, 16]


def test_neighbours_are_merged_with_the_row_changing_first():
    merging = PatchMerging(1, 1e-5)
    merging.norm = torch.nn.Identity()
    merging.reduction = torch.nn.Identity()
    tokens = torch.arange(9.0).view(1, 9, 1)
    merged, grid = merging(tokens, (1, 3, 3))
    assert grid == (1, 2, 2)
    assert merged[0].tolist() == [[0, 3, 1, 4], [2, 5, 0, 0], [6, 0, 7, 0], [8, 0, 0, 0]]


def test_fused_and_open_attention_agree(clips):
    assert_fused_and_open_attention_agree(model_of(), clips)


def test_training_after_inference_reaches_every_parameter(clips):
    model = model_of(hidden_dropout_prob=0.1, attention_dropout_prob=0.1, drop_path_rate=0.1)
    with torch.inference_mode():
        model(clips)
    model.train()
    model(clips).pooler_output.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_checkpointing_gives_the_same_gradients(clips):
    assert_checkpointing_changes_no_gradient(model_of, lambda model: model(clips).pooler_output.square().sum())


def test_saved_and_loaded_it_answers_alike(clips, tmp_path):
    model = model_of(patch_norm=False, qkv_bias=False)
    model.save_pretrained(tmp_path)
    loaded = VideoSwinModel.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(clips).pooler_output, model(clips).pooler_output)


def test_what_is_no_clip_is_refused():
    with pytest.raises(ValueError, match=r"pixel_values must be .* with 3 channels, got shape \(2, 3, 8, 32, 32\)"):
        model_of()(torch.zeros(2, 3, 8, 32, 32))
