import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hf_vidmodels.configuration.configuration_stts import SttsConfig
from hf_vidmodels.modeling.backbones import mvit
from hf_vidmodels.modeling.modeling_stts import SttsForVideoClassification
from hf_vidmodels.modeling.multiply_adds import multiply_adds

# Multiply-adds of the official models in 10^9, layer norms included; Video Swin without its classifier.
PUBLISHED = {
    "mvit-b-16x4": 70.80,
    "mvit-b-16x4-t0.9-s0.9": 56.39,
    "mvit-b-16x4-t0.8-s0.9": 47.21,
    "mvit-b-16x4-t0.6-s0.9": 38.46,
    "mvit-b-16x4-t0.5-s0.7": 26.95,
    "mvit-b-16x4-t0.4-s0.6": 18.46,
    "video-swin-b-32x2": 281.9,
    "video-swin-b-32x2-t0.9": 261.5,
    "video-swin-b-32x2-t0.8": 241.1,
    "video-swin-b-32x2-t0.6": 220.7,
    "video-swin-b-32x2-t0.5": 210.5,
    "video-swin-b-32x2-t0.4": 102.5,
    "video-swin-b-32x2-k8": 141.3,
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_cost_what_the_official_models_cost(preset):
    counts = multiply_adds(SttsConfig.from_preset(preset))
    assert counts["total"] / 1e9 == pytest.approx(PUBLISHED[preset], rel=0.01)
    assert counts["total"] == sum(count for part, count in counts.items() if part != "total")


@pytest.mark.parametrize(
    "config",
    [
        SttsConfig.from_preset("tiny-mvit", num_labels=5),
        SttsConfig.from_preset("tiny-mvit", num_labels=5, use_cls_token=False, pool_mode="max"),
        SttsConfig.from_preset("tiny-mvit", num_labels=5, selection_mode="uniform", pool_kv_kernel={2: [1, 1, 1]}),
        SttsConfig.from_preset("tiny-mvit", num_labels=5, selection_mode="none", hidden_size=12, mlp_ratio=2.5),
        SttsConfig.from_preset("tiny-video-swin", num_labels=5),
        SttsConfig.from_preset("tiny-video-swin", num_labels=5, num_frames=10, window_size=[4, 5, 5]),
        SttsConfig.from_preset(
            "tiny-video-swin", num_labels=5, image_size=36, spatial_select_layers=[1], spatial_keep_ratios=[0.5]
        ),
    ],
)
def test_the_closed_form_is_what_torch_counts_where_nothing_is_left_out(config, monkeypatch):
    model = SttsForVideoClassification(config).eval()
    counts = [count_of_torch(model)]
    # Hidden states need the patches of the last block too.
    monkeypatch.setattr(mvit, "jumps_over_tokens", lambda *_: False)
    counts.append(count_of_torch(model, output_hidden_states=True))
    assert multiply_adds(config)["total"] == pytest.approx(counts[1], rel=0.01)
    assert (counts[0] < counts[1]) == (config.backbone_type == "mvit")


def count_of_torch(model, **options):
    clip = torch.randn(1, model.config.num_frames, 3, *model.config.frame_size)
    # Torch's counter has no formula for the fused attention of CPUs.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(clip, **options)
    return counter.get_total_flops() / 2
