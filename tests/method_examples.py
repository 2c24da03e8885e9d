"""One tiny model and batch per method: what the tests shared by all methods run on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hf_vidmodels import AsmLocConfig


@dataclass(frozen=True)
class MethodExample:
    """A tiny configuration of a method and a batch with everything that its loss needs.

    Args:
        config: makes the configuration.
        batch: makes the batch; every parameter takes part in its loss.
        num_outputs: shape of `logits` in that batch.
        frozen_in_batch: parameters by prefix that this batch does not reach (a cascade trains one network at a time).
    """

    config: Callable[..., Any]
    batch: Callable[[], dict[str, Any]]
    logits_shape: tuple[int, ...]
    frozen_in_batch: tuple[str, ...] = ()


def asm_loc_config(**overrides: Any) -> AsmLocConfig:
    settings = {
        "hidden_size": 16,
        "num_attention_heads": 4,
        "num_labels": 3,
        "num_refinement_steps": 1,
        "num_snippets": 24,
        "hidden_dropout_prob": 0.0,
    }
    return AsmLocConfig(**(settings | overrides))


def asm_loc_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    pseudo_labels = torch.rand(2, 24, 4, generator=generator)
    return {
        "input_features": torch.randn(2, 24, 16, generator=generator),
        "proposal_boxes": torch.tensor([[[2, 9], [5, 14]], [[0, 3], [8, 20]]]),
        "labels": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
        "pseudo_labels": pseudo_labels / pseudo_labels.sum(-1, keepdim=True),
        "step": 1,
    }


EXAMPLES = {
    "asm_loc": MethodExample(asm_loc_config, asm_loc_batch, (2, 4), frozen_in_batch=("steps.0.",)),
}
