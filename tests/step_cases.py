"""The reference values of STEP in tests/fixtures/step (operations, one trimmed case) and ../shared/parity."""

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hf_vidmodels.conversion.convert_step import STEM_WEIGHT, config_from_official, convert_step, our_name
from hf_vidmodels.modeling.modeling_step import StepForActionDetection
from hf_vidmodels.modeling.ops.tube_selection import TubeSelection

FIXTURES = Path(__file__).parent / "fixtures" / "step"
SHARED = Path(__file__).parents[2] / "shared" / "parity" / "step"
# What the first phase has otherwise.
PHASE_OPTIONS = ("T", "max_iter", "iterative_mode", "cls_thresh", "reg_thresh", "neg_ratio", "selection_sampling")
CASES = ("tiny_extrapolate", "tiny_predict")


@dataclass
class StepCase:
    """Official options, weights by official names, and tensors."""

    options: dict[str, Any]
    weights: dict[str, torch.Tensor]
    io: dict[str, torch.Tensor]

    def model(self, **options: Any) -> StepForActionDetection:
        return convert_step(self.weights, self.options["official"] | options)

    def partial_model(self) -> StepForActionDetection:
        """Give a model of whose weights only some are known; the others are random."""
        weights = {our_name(key.replace(".module.", ".")): value for key, value in self.weights.items()}
        weights = {
            key: value.flatten(1) if key.endswith("classifier.weight") else value for key, value in weights.items()
        }
        stem = torch.empty(64 // self.options["derived"]["width_divisor"])
        model = StepForActionDetection(config_from_official(self.options, {STEM_WEIGHT: stem, **self.weights})).eval()
        lacking, unknown = model.load_state_dict(weights, strict=False)
        assert lacking and not unknown
        return model

    def first_phase_model(self) -> StepForActionDetection:
        """Give the model of the first phase that has the same weights: one head, and no local branch."""
        left = re.compile(r"det_net[1-9]|det_net0\.(local_|downsample2|neighbor_)")
        weights = {key: value for key, value in self.weights.items() if not left.match(key)}
        options = {name: value for name, value in self.options["official"].items() if name not in PHASE_OPTIONS}
        return convert_step(weights, options)

    def clips(self) -> torch.Tensor:
        return self.io["pixel_values_u8"].float() * 2 / 255 - 1

    def in_float64(self) -> "StepCase":
        """Give the same case with its floating-point tensors in float64."""
        double = {name: value.double() if value.is_floating_point() else value for name, value in self.io.items()}
        return replace(self, io=double)

    @property
    def num_steps(self) -> int:
        return self.options["official"]["max_iter"]

    @property
    def batch(self) -> int:
        return len(self.io["pixel_values_u8"])


def folder_of(name: str) -> Path | None:
    """Give the folder of a case, or None where it is not here."""
    return next((folder / name for folder in (SHARED, FIXTURES) if (folder / name).is_dir()), None)


@cache
def load_case(name: str) -> StepCase:
    folder = folder_of(name)
    return StepCase(
        json.loads((folder / "config.json").read_text()),
        load_file(folder / "state_dict.safetensors"),
        load_file(folder / "io.safetensors"),
    )


@cache
def operations() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Parameters and tensors of the single operations."""
    return json.loads((FIXTURES / "ops.json").read_text()), load_file(FIXTURES / "ops.safetensors")


def official_selection(targets: torch.Tensor) -> tuple[TubeSelection, torch.Tensor, torch.Tensor]:
    """Give the official choice of tubes as ours: the selection, labels and boxes, each tube with a person of its own.

    Args:
        targets: (n, 3, 6 + C) rows of the chunk before, the key frame and the chunk after: box, flag of the class,
            flag of the box, classes.
    """
    count = len(targets)
    has_class, moves = (targets[None, :, 1, column] > 0 for column in (4, 5))
    each = torch.arange(count)[None]
    boxes = targets[:, :, :4] * targets[:, :, 5:6]
    return (
        TubeSelection(each, each, has_class, torch.ones_like(has_class), moves),
        targets[None, :, 1, 6:],
        boxes[None],
    )
