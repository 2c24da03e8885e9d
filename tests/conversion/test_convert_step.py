"""Official checkpoints of both phases and I3D networks of Kinetics: every weight has its place, or is named."""

import re
from argparse import Namespace

import pytest
import torch

from hf_vidmodels import StepForActionDetection
from hf_vidmodels.conversion.convert_checkpoint import convert_official_checkpoint
from hf_vidmodels.conversion.i3d_weights import BLOCK_PLACES, STEM_PLACES, load_i3d_weights
from method_examples import step_config

OPTIONS = {"num_classes": 5, "fc_dim": 8, "pool_size": 3, "image_size": [64, 48]}
LAYERS = {"convolution": "conv3d", "normalization": "batch3d"}
BRANCHES = {"pointwise": "branch_0", "wide": "branch_1", "narrow": "branch_2", "pooled": "branch_3.1"}
PARTS = {
    "projection": "downsample",
    "classifier": "global_cls",
    "local.projection": "downsample2",
    "local.deltas": "local_reg",
    "local.first_deltas": "neighbor_reg1",
    "local.last_deltas": "neighbor_reg2",
}


def unit(name):
    for ours, theirs in {**LAYERS, **BRANCHES}.items():
        name = re.sub(rf"\b{ours}\b", theirs, name)
    return name


def official(model):
    """Give a model's weights as a release holds them, nested."""
    nets = {}
    blocks = {name: place for place, name in BLOCK_PLACES.items()}
    stem = {name.removeprefix("stem."): place for place, name in STEM_PLACES.items()}
    for name, value in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "backbone":
            place = stem[parts[2]] if parts[1] == "stem" else blocks[parts[2]]
            net, key = "base_net", f"module.base_model.{place}.{unit('.'.join(parts[3:]))}"
        elif parts[0] == "context":
            net, key = "context_net", f"module.i3d_conv_context.{int(parts[2]) + 1}.{unit('.'.join(parts[3:]))}"
        else:
            net, rest = f"det_net{parts[1]}", ".".join(parts[2:])
            if rest.startswith("blocks."):
                key = f"i3d_conv.{unit(rest.removeprefix('blocks.'))}"
            elif rest.startswith("local.blocks."):
                place, layer = parts[4], parts[5]
                layers = ["shortcut", "reduce", "spatial", "expand"][0 if place == "0" else 1 :]
                key = f"local_conv.{place}.conv{layers.index(layer) + 1}.weight"
            else:
                part = max((part for part in PARTS if rest.startswith(part + ".")), key=len)
                key = PARTS[part] + rest.removeprefix(part)
        nets.setdefault(net, {})[key] = value[..., None, None, None] if key == "global_cls.weight" else value
    return nets


def kinetics(model, style):
    """Give the trunk and one copy of the last blocks as a public I3D network."""
    found = {}
    names = {"conv_1a": "conv3d_1a_7x7", "conv_2b": "conv3d_2b_1x1", "conv_2c": "conv3d_2c_3x3"}
    short = {
        "pointwise": "b0",
        "wide.0": "b1a",
        "wide.1": "b1b",
        "narrow.0": "b2a",
        "narrow.1": "b2b",
        "pooled": "b3b",
    }
    for name, value in model.state_dict().items():
        parts = name.split(".")
        if parts[:2] == ["backbone", "stem"]:
            place, rest = names[parts[2]], ".".join(parts[3:])
        elif parts[:2] == ["backbone", "blocks"]:
            place, rest = f"mixed_{parts[2]}", ".".join(parts[3:])
        elif parts[0] == "context":
            place, rest = f"mixed_5{'bc'[int(parts[2])]}", ".".join(parts[3:])
        else:
            continue
        if style == "capital":
            place = place.capitalize()
            for ours, theirs in short.items():
                rest = rest.replace(ours + ".", theirs + ".")
            rest = rest.replace("convolution", "conv3d").replace("normalization", "bn")
        else:
            rest = unit(rest)
        found[f"{place}.{rest}"] = value
    return {**found, "logits.conv3d.weight" if style == "capital" else "conv3d_0c_1x1.conv3d.bias": torch.zeros(400)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    settings = {"proposal_scales": [4 / 3, 2], "proposal_overlaps": [5 / 6, 3 / 4], "freeze_batch_norm_stats": True}
    return StepForActionDetection(step_config(**settings)).eval()


def test_a_release_is_read_from_its_file_with_what_lies_beside_the_weights(model, tmp_path):
    nets = official(model)
    torch.save({**nets, "optimizer": {"state": {}}, "epochs": 3, "cfg": Namespace(fc_dim=8)}, tmp_path / "step.pth")
    converted = convert_official_checkpoint("step", tmp_path / "step.pth", OPTIONS)
    assert converted.config.backbone_config.width_multiplier == 0.125
    for name, value in model.state_dict().items():
        assert torch.equal(value, converted.state_dict()[name]), name


def test_flat_names_and_old_files_without_counters_are_read(model):
    nets = official(model)
    flat = {f"{net}.{key}": value for net, weights in nets.items() for key, value in weights.items()}
    flat = {key.replace(".module.", "."): value for key, value in flat.items() if not key.endswith("_tracked")}
    converted = convert_official_checkpoint("step", flat, {"official": OPTIONS})
    assert torch.equal(converted.heads[2].local.deltas.weight, model.heads[2].local.deltas.weight)


def test_the_first_phase_becomes_a_model_that_classifies_boxes(model):
    nets = official(model)
    local = ("local_", "downsample2.", "neighbor_")
    first = {key: value for key, value in nets["det_net0"].items() if not key.startswith(local)}
    phase = {"base_net": nets["base_net"], "context_net": nets["context_net"], "det_net0": first}
    converted = convert_official_checkpoint("step", phase, OPTIONS)
    assert converted.needs_boxes and converted.config.num_frames == 36 and len(converted.heads) == 1


def test_what_is_left_over_or_missing_is_named(model):
    nets = official(model)
    nets["det_net0"] = {**nets["det_net0"], "extra.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match="no place for: det_net0.extra.weight"):
        convert_official_checkpoint("step", nets, OPTIONS)
    del nets["det_net0"]["extra.weight"], nets["det_net0"]["local_reg.bias"]
    with pytest.raises(ValueError, match="lacks weights of the model: .*deltas.bias"):
        convert_official_checkpoint("step", nets, OPTIONS)
    with pytest.raises(ValueError, match="has shape"):
        convert_official_checkpoint("step", official(model), OPTIONS | {"num_classes": 7})
    with pytest.raises(ValueError, match="is none of STEP: it has a weight backbone.conv1.weight"):
        convert_official_checkpoint("step", {"backbone.conv1.weight": torch.zeros(1)}, OPTIONS)
    with pytest.raises(ValueError, match="anchor_mode must be one of 1, 2, 3, 4"):
        convert_official_checkpoint("step", official(model), OPTIONS | {"anchor_mode": "9"})
    with pytest.raises(ValueError, match="iterative_mode must be one of spatial, temporal, temporal2"):
        convert_official_checkpoint("step", official(model), OPTIONS | {"iterative_mode": "all"})


@pytest.mark.parametrize("style", ["small", "capital"])
def test_a_kinetics_network_fills_trunk_context_and_the_blocks_of_all_heads(model, style):
    eps = 1e-3 if style == "capital" else 1e-5
    fresh = StepForActionDetection(step_config(batch_norm_eps=eps))
    left = load_i3d_weights(fresh, kinetics(model, style))
    assert len(left) == 1
    assert torch.equal(fresh.backbone.stem.conv_2c.convolution.weight, model.backbone.stem.conv_2c.convolution.weight)
    for head in fresh.heads:
        for name, value in head.blocks.state_dict().items():
            assert torch.equal(value, model.context.blocks.state_dict()[name]), name


def test_a_network_that_does_not_fit_is_refused(model):
    weights = kinetics(model, "small")
    with pytest.raises(ValueError, match="I3D network of Kinetics, which detects nothing yet"):
        convert_official_checkpoint("step", weights, OPTIONS)
    with pytest.raises(ValueError, match="norms called bn were trained with eps 0.001"):
        load_i3d_weights(model, kinetics(model, "capital"))
    with pytest.raises(ValueError, match="the weights are no I3D network"):
        load_i3d_weights(model, {"layer.weight": torch.zeros(1)})
    del weights["mixed_4b.branch_0.conv3d.weight"]
    with pytest.raises(ValueError, match="blocks.4b.pointwise.convolution.weight are missing"):
        load_i3d_weights(model, weights)
    weights["mixed_4b.branch_0.conv3d.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match="mixed_4b.branch_0.conv3d.weight have no place of their shape"):
        load_i3d_weights(model, weights)
