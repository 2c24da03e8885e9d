"""Values of an independent derivation of hierarchical contrastive motion learning, in float64 and in float32."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_vidmodels import HierarchicalMotionConfig
from hf_vidmodels.modeling.layers.motion_levels import MotionFusion
from hf_vidmodels.modeling.ops.contrastive_loss import contrastive_loss
from hf_vidmodels.modeling.ops.cost_volume import cost_volume
from hf_vidmodels.modeling.ops.frame_reconstruction import photometric_loss, smoothness_loss, warp

CORE = Path(__file__).parents[1] / "fixtures" / "hierarchical_motion" / "core"
CONFIG = json.loads((CORE / "config.json").read_text())
NEGATIVES = {
    "spatial": ["spatial"],
    "temporal": ["temporal"],
    "batch": ["batch"],
    "within_video": ["spatial", "temporal", "spatiotemporal"],
    "all": ["spatial", "temporal", "spatiotemporal", "batch"],
}
VARIANTS = [
    *(("cosine", kinds, 1) for kinds in NEGATIVES),
    ("cosine", "all", 2),
    ("dot", "all", 1),
]


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def case(request):
    values = {**load_file(CORE / "io.safetensors"), **load_file(CORE / "weights.safetensors")}
    return {name: value.to(request.param) for name, value in values.items()}


def assert_near(found, expected):
    tolerance = 1e-9 if found.dtype == torch.float64 else 1e-4
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=tolerance, rtol=tolerance)


def as_maps(frames):
    """From (B, T, C, H, W) to (B, C, T, H, W), and back."""
    return frames.transpose(1, 2)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_cost_volumes_are_those_of_the_derivation(case, similarity):
    maps = as_maps(case["features"])
    found = cost_volume(maps, CONFIG["max_displacement"], CONFIG["displacement_stride"], similarity)
    assert_near(as_maps(found), case[f"cost_volume.{similarity}"])


def test_a_frame_is_reconstructed_and_compared_as_in_the_derivation(case):
    frame, following, flow = (case[f"recon.{name}"][None] for name in ("frame", "next_frame", "flow"))
    warped, mask = warp(following, flow)
    assert_near(warped, case["recon.warped"])
    assert_near(mask, case["recon.mask"])
    assert_near(photometric_loss(frame, warped, mask), case["recon.photometric"])
    assert_near(smoothness_loss(flow, frame), case["recon.smoothness"])


@pytest.mark.parametrize(("similarity", "kinds", "offset"), VARIANTS)
@pytest.mark.parametrize("scores_at_a_time", [1, 50, 10**6])
def test_contrastive_losses_and_accuracies_are_those_of_the_derivation(
    case, similarity, kinds, offset, scores_at_a_time
):
    loss, accuracy = contrastive_loss(
        as_maps(case["nce.prediction"]),
        as_maps(case["nce.target"]),
        offset=offset,
        similarity=similarity,
        temperature=CONFIG["temperature"] if similarity == "cosine" else 1.0,
        negatives=NEGATIVES[kinds],
        scores_at_a_time=scores_at_a_time,
    )
    name = f"nce.{similarity}.{kinds}" + (f".offset{offset}" if offset > 1 else "")
    assert_near(loss, case[f"{name}.loss"].squeeze())
    assert accuracy.item() == case[f"{name}.accuracy"].item()


@torch.no_grad()
def test_gated_fusion_is_that_of_the_derivation(case):
    appearance, motion = as_maps(case["fusion.appearance"]), as_maps(case["fusion.motion"])
    width, hidden = appearance.shape[1], motion.shape[1]
    fusion = fusion_of(width, hidden).to(appearance.dtype).eval()
    names = {
        "project.convolution": ("transform", ["weight"]),
        "project.normalization": ("norm", ["weight", "bias", "running_mean", "running_var"]),
        "gate": ("gate", ["weight", "bias"]),
    }
    for module, (theirs, parts) in names.items():
        for part in parts:
            tensor = getattr(fusion.get_submodule(module), part)
            tensor.copy_(case[f"fusion.{theirs}.{part}"].reshape(tensor.shape))
    assert_near(as_maps(fusion(appearance, motion)), case["fusion.output"])


def fusion_of(width, hidden):
    """A fusion of any width: backbones have widths of multiples of 4."""
    config = HierarchicalMotionConfig.from_preset("tiny-motion", motion_hidden_sizes=(hidden, 8, 10))
    fusion = MotionFusion(config, 0)
    fusion.project.convolution = torch.nn.Conv3d(hidden, width, 1, bias=False)
    fusion.project.normalization = torch.nn.BatchNorm3d(width)
    fusion.gate = torch.nn.Linear(2 * width, width)
    return fusion
