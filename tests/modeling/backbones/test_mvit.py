import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hf_vidmodels.configuration.configuration_backbones import MvitConfig
from hf_vidmodels.modeling.backbones import mvit
from hf_vidmodels.modeling.backbones.mvit import MvitModel
from hf_vidmodels.modeling.ops import cached_mlp
from hf_vidmodels.modeling.ops.covered_tokens import jumps_over_tokens
from model_checks import assert_checkpointing_changes_no_gradient, assert_fused_and_open_attention_agree


def config_of(**overrides):
    settings = {
        "num_frames": 4,
        "image_size": 32,
        "hidden_size": 8,
        "num_hidden_layers": 4,
        "dim_mul": [[1, 2.0], [3, 2.0]],
        "head_mul": [[1, 2.0]],
        "pool_q_stride": [[1, 1, 2, 2], [3, 1, 2, 2]],
        "pool_kv_stride_adaptive": [1, 4, 4],
        "drop_path_rate": 0.0,
    }
    return MvitConfig(**(settings | overrides))


def model_of(**overrides):
    torch.manual_seed(0)
    return MvitModel(config_of(**overrides)).eval()


@pytest.fixture
def clips():
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_output_has_its_documented_shapes(clips):
    output = model_of()(clips, output_hidden_states=True, output_attentions=True)
    assert output.last_hidden_state.shape == (2, 1 + 2 * 2 * 2, 32)
    assert output.grid == (2, 2, 2)
    assert output.feature_map.shape == (2, 32, 2, 2, 2)
    assert torch.equal(output.pooler_output, output.last_hidden_state[:, 0])
    assert [state.shape[1] for state in output.hidden_states] == [129, 33, 33, 9]
    assert [weights.shape for weights in output.attentions][:2] == [(2, 1, 129, 9), (2, 2, 33, 33)]


def test_without_a_class_token_the_mean_is_pooled(clips):
    output = model_of(use_cls_token=False)(clips)
    assert output.last_hidden_state.shape == (2, 8, 32)
    torch.testing.assert_close(output.pooler_output, output.last_hidden_state.mean(1))


def test_the_published_sizes_have_the_published_number_of_parameters():
    with torch.device("meta"):
        numbers = [
            sum(parameter.numel() for parameter in MvitModel(MvitConfig.from_preset(name)).parameters())
            for name in ("mvit-b-16x4", "mvit-b-32x3")
        ]
    classifier = 400 * 768 + 400
    assert numbers == [36_610_672 - classifier, 36_610_672 - classifier + 8 * 96]


@pytest.mark.parametrize(
    "overrides", [{}, {"separable_pos_embed": False}, {"use_cls_token": False, "norm_stem": True}]
)
def test_positions_tell_frames_and_places_apart(clips, overrides):
    model = model_of(**overrides)
    for shifted in (clips.roll(2, 1), clips.roll(8, 3)):
        assert (model(shifted).pooler_output - model(clips).pooler_output).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("overrides", "leaves_out"),
    [
        ({"pool_q_stride": [[1, 1, 2, 2]]}, True),
        ({"pool_q_stride": [[1, 1, 2, 2]], "pool_mode": "max", "pool_kv_kernel": {3: [1, 1, 1]}}, True),
        ({}, False),
        ({"use_cls_token": False, "pool_q_stride": [[1, 1, 2, 2]]}, False),
    ],
)
def test_the_pooled_result_alone_is_the_same_for_less(clips, overrides, leaves_out):
    model = model_of(drop_path_rate=0.3, **overrides).double().train()
    clips, results, counts = clips.double(), [], []
    for options in ({}, {"pooled_only": True}, {"pooled_only": True, "output_hidden_states": True}):
        model.zero_grad()
        torch.manual_seed(0)
        # Torch's counter has no formula for the fused attention of CPUs.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            output = model(clips, **options)
        assert (output.last_hidden_state is None) == ("pooled_only" in options)
        output.pooler_output.square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append({"pooled": output.pooler_output, **gradients})
        counts.append(counter.get_total_flops())
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])
    assert (counts[1] < counts[0]) == leaves_out
    assert counts[2] == counts[0]


def test_keys_and_values_of_tokens_that_no_window_covers_are_left_out(clips, monkeypatch):
    results = []
    for jumps in (jumps_over_tokens, lambda *_: False):
        monkeypatch.setattr(mvit, "jumps_over_tokens", jumps)
        model, seen = model_of().double(), []
        model.blocks[0].attention.key.register_forward_hook(lambda _, given, result, seen=seen: seen.append(result))
        output = model(clips.double())
        output.last_hidden_state.square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append({"tokens": output.last_hidden_state, **gradients})
        # Of 8 x 8 tokens a frame, windows of 3 with a stride of 4 cover 5 x 5.
        assert seen[0].shape[1] == (1 + 2 * 5 * 5 if len(results) == 1 else 1 + 2 * 8 * 8)
    torch.testing.assert_close(*results)


def test_filters_exchange_the_patches_but_never_the_class_token(clips):
    model, seen = model_of(), {}

    def keep_first_frame(tokens, grid):
        seen[len(seen)] = (tokens.shape, grid)
        return tokens[:, : grid[1] * grid[2]], (1, *grid[1:])

    output = model(clips, {0: keep_first_frame, 2: keep_first_frame}, output_hidden_states=True)
    assert seen == {0: ((2, 128, 8), (2, 8, 8)), 1: ((2, 16, 16), (1, 4, 4))}
    assert output.grid == (1, 2, 2)
    assert [state.shape[1] for state in output.hidden_states] == [65, 17, 17, 5]
    unchanged = model(clips, {2: lambda tokens, grid: (tokens, grid)})
    assert torch.equal(unchanged.pooler_output, model(clips).pooler_output)


def test_fused_and_open_attention_agree(clips):
    assert_fused_and_open_attention_agree(model_of(), clips)


def test_dropout_and_drop_path_act_in_training_only(clips):
    model = model_of(hidden_dropout_prob=0.2, attention_dropout_prob=0.2, drop_path_rate=0.5)
    assert torch.equal(model(clips).pooler_output, model(clips).pooler_output)
    model.train()
    assert not torch.equal(model(clips).pooler_output, model(clips).pooler_output)
    assert [block.drop_path.p for block in model.blocks] == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2])


def test_checkpointing_gives_the_same_gradients(clips):
    assert_checkpointing_changes_no_gradient(model_of, lambda model: model(clips).pooler_output.square().sum())


def test_in_parts_it_gives_what_the_whole_gives(clips, monkeypatch):
    model = model_of()
    whole = model(clips).pooler_output
    monkeypatch.setattr(cached_mlp, "CACHED_ACTIVATION", 500)
    torch.testing.assert_close(model(clips).pooler_output, whole)
    with torch.no_grad():
        torch.testing.assert_close(model(clips).pooler_output, whole)


def test_weights_start_as_published():
    torch.manual_seed(0)
    model = MvitModel(MvitConfig(num_hidden_layers=1, dim_mul=[], head_mul=[], pool_q_stride=[]))
    assert model.blocks[0].attention.query.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.embeddings.spatial_positions.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.blocks[0].mlp.expand.bias.any()
    bound = 1 / (3 * 7 * 7 * 3) ** 0.5
    assert model.embeddings.projection.weight.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_saved_and_loaded_it_answers_alike(clips, tmp_path):
    model = model_of(pool_kv_kernel={2: [1, 1, 1]})
    model.save_pretrained(tmp_path)
    loaded = MvitModel.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(clips).pooler_output, model(clips).pooler_output)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (4, 3, 32, 32),
            r"pixel_values must be \(batch, frames, channels, height, width\) with 3 channels, got shape \(4,",
        ),
        ((1, 4, 1, 32, 32), r"with 3 channels, got shape \(1, 4, 1, 32, 32\)"),
        ((1, 3, 4, 32, 32), r"with 3 channels, got shape \(1, 3, 4, 32, 32\)"),
        ((1, 6, 3, 32, 32), "has 6 frames, but the model takes 4"),
        ((1, 4, 3, 32, 40), "frames of 32 x 40 pixels, but the model takes squares of 32 x 32"),
    ],
)
def test_clips_of_another_size_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        model_of()(torch.zeros(shape))
