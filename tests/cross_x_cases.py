"""The official Cross-X values in tests/fixtures/cross_x (heads and losses) and ../shared/parity/cross_x (whole), and
the network as its description says it, step by step on official weights, without any of our layers.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from hf_vidmodels.conversion.convert_cross_x import convert_cross_x
from hf_vidmodels.modeling.modeling_cross_x import CrossXForImageClassification

FIXTURES = Path(__file__).parent / "fixtures" / "cross_x" / "heads_and_losses.safetensors"
WHOLE = Path(__file__).parents[2] / "shared" / "parity" / "cross_x"
CASES = ("resnet50_mix_2parts", "senet50_avg_3parts")
# Our names of heads, and the official ones.
HEADS = {"ultimate": "ulti", "penultimate": "plty", "merged": "cmbn"}


@dataclass
class CrossXCase:
    """One case: official options, tensors, and weights."""

    options: dict[str, Any]
    io: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]

    def model(self, **changes: Any) -> CrossXForImageClassification:
        """Make the converted model, with other fields of its configuration."""
        return convert_cross_x(self.weights, self.options | changes)


@cache
def load_case(name: str) -> CrossXCase:
    """Load a case; a test that needs the whole of it is skipped where that is not."""
    folder = WHOLE / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return CrossXCase(
        options=json.loads((folder / "config.json").read_text()),
        io=load_file(folder / "io.safetensors"),
        weights=load_file(folder / "state_dict.safetensors"),
    )


@cache
def short_case(name: str) -> dict[str, torch.Tensor]:
    """Load what there is of a case in the fixtures: features, heads, losses."""
    tensors = load_file(FIXTURES)
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference as a share of the largest expected value."""
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).abs().max() / expected.abs().max())


def plain_losses(
    weights: dict[str, torch.Tensor], config: Any, pictures: torch.Tensor, labels: torch.Tensor
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Run the network in training mode on official weights, part by part and pair by pair.

    Returns:
        logits of each head and `loss`; and the part features of each head, (B, P, C).
    """

    def norm(values: torch.Tensor, name: str) -> torch.Tensor:
        return functional.batch_norm(values, None, None, weights[f"{name}.weight"], weights[f"{name}.bias"], True)

    def excited(values: torch.Tensor, unit: str) -> torch.Tensor:
        squeezed = functional.adaptive_avg_pool2d(values, 1).flatten(1)
        hidden = functional.linear(squeezed, weights[f"{unit}.0.weight"], weights[f"{unit}.0.bias"]).relu()
        scale = functional.linear(hidden, weights[f"{unit}.2.weight"], weights[f"{unit}.2.bias"]).sigmoid()
        return values * scale[:, :, None, None]

    hidden = functional.conv2d(pictures, weights["conv1.weight"], stride=2, padding=3)
    hidden = functional.max_pool2d(norm(hidden, "bn1").relu(), 3, 2, 1)
    parts: dict[int, list[torch.Tensor]] = {}
    for stage, depth in enumerate(config.depths, start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            stride = 2 if block == 0 and stage > 1 else 1
            inner = norm(functional.conv2d(hidden, weights[f"{name}.conv1.weight"]), f"{name}.bn1").relu()
            inner = functional.conv2d(inner, weights[f"{name}.conv2.weight"], stride=stride, padding=1)
            inner = functional.conv2d(norm(inner, f"{name}.bn2").relu(), weights[f"{name}.conv3.weight"])
            inner, shortcut = norm(inner, f"{name}.bn3"), hidden
            if block == 0:
                shortcut = functional.conv2d(hidden, weights[f"{name}.downsample.0.weight"], stride=stride)
                shortcut = norm(shortcut, f"{name}.downsample.1")
            main = inner
            if stage > 2 and block == depth - 1:
                kind = "me" if config.backbone_type == "resnet" else "se"
                units = [f"{name}.{kind}.parts.{part}" for part in range(config.num_parts)]
                parts[stage] = [(excited(inner, unit) + shortcut).relu() for unit in units]
                main = inner if kind == "me" else excited(inner, f"{name}.se.dresponse")
            elif config.backbone_type == "senet":
                main = excited(inner, f"{name}.se.fc")
            hidden = (main + shortcut).relu()
    merged = []
    for number, (fine, coarse) in enumerate(zip(parts[3], parts[4], strict=True), start=1):
        narrow = functional.conv2d(coarse, weights[f"conv2_{number}.weight"])
        summed = fine + functional.interpolate(narrow, size=fine.shape[2:], mode="nearest")
        merged.append(norm(functional.conv2d(summed, weights[f"conv3_{number}.weight"], padding=1), f"bn3_{number}"))
    pool = functional.adaptive_max_pool2d if config.penultimate_pooling == "max" else functional.adaptive_avg_pool2d
    pooled = {
        "ultimate": [functional.adaptive_avg_pool2d(part, 1).flatten(1) for part in parts[4]],
        "penultimate": [pool(part, 1).flatten(1) for part in parts[3]],
        "merged": [functional.adaptive_avg_pool2d(part, 1).flatten(1) for part in merged],
    }
    logits = {
        head: functional.linear(torch.cat(pooled[head], 1), weights[f"fc_{name}.weight"], weights[f"fc_{name}.bias"])
        for head, name in HEADS.items()
    }
    loss = functional.cross_entropy(sum(logits.values()), labels)
    for head, vectors in pooled.items():
        loss = loss + config.c3s_weights[head] * pairwise_c3s(vectors)
    ultimate = logits["ultimate"].log_softmax(-1)
    for other in ("penultimate", "merged"):
        loss = loss + (ultimate.exp() * (ultimate - logits[other].log_softmax(-1))).sum() / len(labels)
    return logits | {"loss": loss}, {head: torch.stack(vectors, 1) for head, vectors in pooled.items()}


def pairwise_c3s(vectors: list[torch.Tensor]) -> torch.Tensor:
    """C3S over all pairs of pictures, from P tensors (B, C)."""
    directions = [vector / vector.norm(dim=1, keepdim=True) for vector in vectors]
    loss = vectors[0].new_zeros(())
    for first, one in enumerate(directions):
        for second, other in enumerate(directions[first:], start=first):
            similarity = (one @ other.T).mean()
            loss = loss + (1 - similarity if first == second else similarity)
    return loss
