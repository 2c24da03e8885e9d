"""The reference values of residual video networks in tests/fixtures/video_resnet (one case) and ../shared/parity."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hf_vidmodels.conversion.convert_video_resnet import convert_video_resnet

FIXTURES = Path(__file__).parent / "fixtures" / "video_resnet"
SHARED = Path(__file__).parents[2] / "shared" / "parity" / "video_resnet"
STAGES = ("stem", "res2", "res3", "res4", "res5")


@dataclass
class VideoResNetCase:
    """Official options, weights by official names, tensors, and the SlowFast repository's names for the weights."""

    options: dict[str, Any]
    weights: dict[str, torch.Tensor]
    io: dict[str, torch.Tensor]
    key_map: dict[str, str]

    def model(self, **options: Any) -> torch.nn.Module:
        return convert_video_resnet(self.weights, self.options | options)

    def slowfast_weights(self) -> dict[str, torch.Tensor]:
        return {self.key_map[name]: value for name, value in self.weights.items()}

    def clips(self, name: str = "pixel_values") -> torch.Tensor:
        """Give clips as our models take them, (B, T, 3, H, W)."""
        return self.io[name].transpose(1, 2)


def folder_of(name: str) -> Path | None:
    """Give the folder of a case, or None where it is not here."""
    return next((folder / name for folder in (SHARED, FIXTURES) if (folder / name).is_dir()), None)


@cache
def load_case(name: str, folder: Path | None = None) -> VideoResNetCase:
    folder = folder or folder_of(name)
    key_map = folder / "key_map_slowfast_layout.json"
    return VideoResNetCase(
        json.loads((folder / "config.json").read_text()),
        load_file(folder / "state_dict.safetensors"),
        load_file(folder / "io.safetensors"),
        json.loads(key_map.read_text()) if key_map.is_file() else {},
    )
