"""Inception I3D networks of Kinetics as the trunk of a detector and the I3D blocks of its heads.

Read are the two PyTorch conversions in public use: one names its blocks `mixed_3b.branch_0` (with norms of eps 1e-5),
the other `Mixed_3b.b0` (with eps 1e-3). Their classifiers are left out.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..configuration.configuration_i3d import TAIL_BLOCKS, TRUNK_BLOCKS
from ..modeling.modeling_step import StepForActionDetection
from .official_checkpoints import listed, read_state_dict

# Places of layers in the official list of STEP; the others are pools without weights.
STEM_PLACES = {"0": "stem.conv_1a", "2": "stem.conv_2b", "3": "stem.conv_2c"}
BLOCK_PLACES = dict(zip(("5", "6", "8", "9", "10", "11", "12"), TRUNK_BLOCKS, strict=True))
STEM_NAMES = {"conv3d_1a_7x7": "stem.conv_1a", "conv3d_2b_1x1": "stem.conv_2b", "conv3d_2c_3x3": "stem.conv_2c"}
BRANCHES = {
    "branch_0": "pointwise",
    "branch_1.0": "wide.0",
    "branch_1.1": "wide.1",
    "branch_2.0": "narrow.0",
    "branch_2.1": "narrow.1",
    "branch_3.1": "pooled",
    "b0": "pointwise",
    "b1a": "wide.0",
    "b1b": "wide.1",
    "b2a": "narrow.0",
    "b2b": "narrow.1",
    "b3b": "pooled",
}
LAYERS = {"conv3d": "convolution", "batch3d": "normalization", "bn": "normalization"}
COUNTER = ".num_batches_tracked"
BLOCK = re.compile(r"mixed_(\d[a-f])", re.IGNORECASE)
CLASSIFIERS = ("conv3d_0c_1x1", "logits")
# The conversion whose norms are called `bn` was made with TensorFlow's own value.
EPS_OF_BN = 1e-3


def unit_name(unit: str) -> str:
    """Give our name of a weight inside a unit or block, such as `branch_1.0.conv3d.weight`."""
    place, _, parameter = unit.rpartition(".")
    branch, _, layer = place.rpartition(".")
    parts = [BRANCHES.get(branch, branch), LAYERS.get(layer, layer), parameter]
    return ".".join(part for part in parts if part)


def is_kinetics_network(weights: Mapping[str, Any]) -> bool:
    """Whether the names of weights are those of a whole I3D network."""
    return any(key.lower().startswith("conv3d_1a_7x7.") for key in weights)


def load_i3d_weights(
    model: StepForActionDetection, source: str | os.PathLike[str] | Mapping[str, torch.Tensor]
) -> list[str]:
    """Fill a detector's trunk, context network and the I3D blocks of all its heads from a network of Kinetics.

    Args:
        model: the detector; the rest of its weights stay.
        source: a weight file or a state dict.

    Returns:
        the names of the classifier's weights, which were left out.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: another network, norms of another eps, or weights missing, left over or of another shape.
    """
    state_dict = read_state_dict(source)
    if not is_kinetics_network(state_dict):
        raise ValueError(
            f"the weights are no I3D network: expected conv3d_1a_7x7... or Conv3d_1a_7x7..., the first is "
            f"{next(iter(state_dict))}"
        )
    eps = model.config.backbone_config.batch_norm_eps
    if any(".bn." in key for key in state_dict) and eps != EPS_OF_BN:
        raise ValueError(
            f"norms called bn were trained with eps {EPS_OF_BN}, but the model has {eps}: give "
            f"--model.backbone.batch_norm_eps {EPS_OF_BN}"
        )
    wanted = {name: value for name, value in model.state_dict().items() if _is_i3d(name)}
    taken: dict[str, torch.Tensor] = {}
    left, unknown = [], []
    for key, value in state_dict.items():
        names = list(_our_names(key, model))
        if key.split(".", 1)[0].lower() in CLASSIFIERS:
            left.append(key)
        elif not names or any(name not in wanted or wanted[name].shape != value.shape for name in names):
            unknown.append(key)
        taken |= dict.fromkeys(names, value)
    missing = [name for name in wanted if name not in taken and not name.endswith(COUNTER)]
    if unknown or missing:
        raise ValueError(
            "the I3D network does not fit the model: "
            + "; ".join(
                f"{listed(sorted(names))} {verb}"
                for names, verb in ((unknown, "have no place of their shape"), (missing, "are missing"))
                if names
            )
        )
    model.load_state_dict(taken, strict=False)
    return left


def _is_i3d(name: str) -> bool:
    return name.startswith(("backbone.", "context.")) or re.match(r"heads\.\d+\.blocks\.", name) is not None


def _our_names(key: str, model: StepForActionDetection) -> Iterator[str]:
    """Yield the places of a weight; the last two blocks have one in the context network and in every head."""
    place, _, unit = key.partition(".")
    if place.lower() in STEM_NAMES:
        yield f"backbone.{STEM_NAMES[place.lower()]}.{unit_name(unit)}"
    block = BLOCK.fullmatch(place)
    if block is None:
        return
    name = block.group(1)
    if name in TRUNK_BLOCKS:
        yield f"backbone.blocks.{name}.{unit_name(unit)}"
    if name in TAIL_BLOCKS:
        rest = f"blocks.{TAIL_BLOCKS.index(name)}.{unit_name(unit)}"
        if model.context is not None:
            yield f"context.{rest}"
        yield from (f"heads.{number}.{rest}" for number in range(len(model.heads)))
