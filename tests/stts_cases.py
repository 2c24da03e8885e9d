"""The official STTS values in tests/fixtures/stts (shortened) and ../shared/parity/stts (whole), run by our model."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hf_vidmodels.conversion.convert_stts import convert_stts
from hf_vidmodels.modeling.layers import token_selection
from hf_vidmodels.modeling.modeling_stts import SttsForVideoClassification, SttsOutput

FOLDERS = {
    "fixture": Path(__file__).parent / "fixtures" / "stts",
    "whole": Path(__file__).parents[2] / "shared" / "parity" / "stts",
}
NAMES = ("mvit_time_space", "video_swin_time")
OURS = {"time": "temporal", "space": "spatial"}


@dataclass
class SttsCase:
    """One case: official options, weights by official names, and tensors."""

    name: str
    options: dict[str, Any]
    weights: dict[str, torch.Tensor]
    io: dict[str, torch.Tensor]

    @property
    def selectors(self) -> list[tuple[str, int]]:
        """Kind and number of every selector, in the order in which they act."""
        return [(row["type"], row["index"]) for row in self.options["derived"]["selectors_in_call_order"]]

    def model(self) -> SttsForVideoClassification:
        """Make the converted model; in a shortened case its embedding gives the stored tokens."""
        model = convert_stts(self.weights, self.options)
        if "pixel_values" not in self.io:
            model.backbone.embeddings = StoredEmbedding(model, self.io["embedded"])
        return model

    def pixel_values(self, model: SttsForVideoClassification) -> torch.Tensor:
        """Give the clips (B, T, 3, H, W), zeros where they are not stored."""
        if "pixel_values" in self.io:
            return self.io["pixel_values"].transpose(1, 2).clone()
        config = model.config
        return torch.zeros(2, config.num_frames, config.num_channels, *config.frame_size)

    def train(self, model: SttsForVideoClassification) -> "TrainingPass":
        """Run forward and backward with the stored noise."""
        labels = self.io["train.soft_targets" if "train.soft_targets" in self.io else "train.labels"]
        derived = self.options["derived"]
        sigma = derived.get("train_sigma", derived.get("sigma"))
        noise = [self.io[f"train.{kind}{number}.noise"] for kind, number in self.selectors]
        found = TrainingPass(pixel_values=self.pixel_values(model).requires_grad_())
        relax = token_selection.perturbed_topk

        def watched(scores: torch.Tensor, *arguments: Any, **settings: Any) -> torch.Tensor:
            scores.retain_grad()
            found.scores.append(scores)
            found.indicators.append(relax(scores, *arguments, **settings))
            return found.indicators[-1]

        token_selection.perturbed_topk = watched
        try:
            found.output = model.train()(found.pixel_values, labels=labels, sigma=sigma, noise=noise)
        finally:
            token_selection.perturbed_topk = relax
        found.output.loss.backward()
        return found


@dataclass
class TrainingPass:
    """What a training pass gave, selector by selector where it is a list."""

    pixel_values: torch.Tensor
    output: SttsOutput | None = None
    scores: list[torch.Tensor] = field(default_factory=list)
    indicators: list[torch.Tensor] = field(default_factory=list)


class StoredEmbedding(torch.nn.Module):
    """Gives stored patch tokens in place of an embedding of pixels."""

    def __init__(self, model: SttsForVideoClassification, tokens: torch.Tensor) -> None:
        super().__init__()
        self.embeddings = model.backbone.embeddings
        self.grid = model.config.backbone_config.patch_grid
        self.tokens = tokens

    def forward(self, pixel_values: torch.Tensor) -> tuple[Any, Any]:
        if not hasattr(self.embeddings, "class_token"):
            return self.tokens, self.grid
        class_token = self.embeddings.class_token + self.embeddings.class_position
        return class_token.expand(len(self.tokens), -1, -1), self.tokens


@cache
def load_case(name: str, kind: str) -> SttsCase:
    folder = FOLDERS[kind] / name
    return SttsCase(
        name=name,
        options=json.loads((folder / "config.json").read_text()),
        weights=load_file(folder / "state_dict.safetensors"),
        io=load_file(folder / "io.safetensors"),
    )


@cache
def load_operators() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    folder = FOLDERS["fixture"] / "operators"
    return json.loads((folder / "config.json").read_text())["operators"], load_file(folder / "io.safetensors")
