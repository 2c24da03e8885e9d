"""One tiny model and batch per method: what the tests shared by all methods run on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import ResNetConfig

from hf_vidmodels import (
    AsmLocConfig,
    CollaborativeMemoryConfig,
    CrossXConfig,
    GtaConfig,
    HierarchicalMotionConfig,
    L2CafConfig,
    MalConfig,
    SemiformerConfig,
    StepConfig,
    SttsConfig,
    VideoResNetConfig,
)


@dataclass(frozen=True)
class MethodExample:
    """A tiny configuration of a method and a batch with everything that its loss needs.

    Args:
        config: makes the configuration.
        batch: makes the batch; every parameter takes part in its loss.
        num_outputs: shape of `logits` in that batch.
        frozen_in_batch: parameters by prefix that this batch does not reach (a cascade trains one network at a time).
        has_classes: whether the last axis of `logits` is the number of classes.
    """

    config: Callable[..., Any]
    batch: Callable[[], dict[str, Any]]
    logits_shape: tuple[int, ...]
    frozen_in_batch: tuple[str, ...] = ()
    has_classes: bool = True


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


def collaborative_memory_config(**overrides: Any) -> CollaborativeMemoryConfig:
    return CollaborativeMemoryConfig.from_preset("tiny-memory", **({"num_labels": 5} | overrides))


def collaborative_memory_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"pixel_values": torch.randn(2, 3, 4, 3, 32, 32, generator=generator), "labels": torch.tensor([1, 4])}


def cross_x_config(**overrides: Any) -> CrossXConfig:
    return CrossXConfig.from_preset("tiny-cross-x", **({"num_labels": 5} | overrides))


def l2_caf_config(**overrides: Any) -> L2CafConfig:
    network = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 12, 16], depths=[1, 1, 1, 1], layer_type="basic", num_labels=5
    )
    return L2CafConfig(**({"network_config": network, "image_size": 64} | overrides))


def l2_caf_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"pixel_values": torch.randn(4, 3, 64, 64, generator=generator), "labels": torch.tensor([0, 3, 1, 4])}


def mal_config(**overrides: Any) -> MalConfig:
    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "pretrain_image_size": 64,
        "image_size": 64,
        "mask_head_hidden_size": 16,
        "mask_embed_size": 12,
    }
    return MalConfig(**(settings | overrides))


def mal_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    box_mask = torch.zeros(3, 1, 64, 64)
    box_mask[:, :, 8:50, 12:56] = 1
    return {
        "pixel_values": torch.randn(3, 3, 64, 64, generator=generator),
        "boxes": torch.tensor([[0.0, 0.0, 20.0, 30.0], [3.0, 4.0, 63.0, 80.0], [0.0, 0.0, 200.0, 100.0]]),
        "box_mask": box_mask,
    }


def semiformer_config(**overrides: Any) -> SemiformerConfig:
    settings = {"num_labels": 5, "num_hidden_layers": 3, "hidden_size": 24, "drop_path_rate": 0.0}
    return SemiformerConfig.from_preset("tiny-semiformer", **(settings | overrides))


def semiformer_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"pixel_values": torch.randn(4, 3, 64, 64, generator=generator), "labels": torch.tensor([0, 3, 1, 4])}


def step_config(**overrides: Any) -> StepConfig:
    settings = {"num_labels": 5, "image_size": [48, 64], "roi_pool_size": 3, "freeze_batch_norm_affine": False}
    settings |= {"proposal_scales": [2], "proposal_overlaps": [0.5], "classifier_dropout": 0.0}
    # Norms with the statistics of the batch keep the few channels of an eighth of the width alive.
    settings |= {"freeze_batch_norm_stats": False}
    return StepConfig.from_preset("step-tiny", **(settings | overrides))


def step_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    box_labels = torch.tensor([[3.0, 4, 40, 40], [20, 6, 60, 46]]).expand(2, 3, 2, 4).transpose(1, 2).contiguous()
    return {
        "pixel_values": torch.rand(2, 36, 3, 48, 64, generator=generator) * 2 - 1,
        "labels": torch.eye(5)[torch.tensor([[0, 3], [1, 4]])],
        "box_labels": box_labels,
    }


def stts_config(**overrides: Any) -> SttsConfig:
    return SttsConfig.from_preset("tiny-mvit", **({"num_labels": 5, "num_noise_samples": 20} | overrides))


def stts_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"pixel_values": torch.randn(2, 8, 3, 32, 32, generator=generator), "labels": torch.tensor([1, 4])}


def gta_config(**overrides: Any) -> GtaConfig:
    return GtaConfig.from_preset("tiny-gta", **({"num_labels": 5, "zero_init_output_norm": False} | overrides))


def gta_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"pixel_values": torch.randn(2, 4, 3, 32, 32, generator=generator), "labels": torch.tensor([1, 4])}


def hierarchical_motion_config(**overrides: Any) -> HierarchicalMotionConfig:
    return HierarchicalMotionConfig.from_preset("tiny-motion", **({"num_labels": 5} | overrides))


def video_resnet_config(**overrides: Any) -> VideoResNetConfig:
    return VideoResNetConfig.from_preset("tiny-slowfast", **({"num_labels": 5} | overrides))


EXAMPLES = {
    "asm_loc": MethodExample(asm_loc_config, asm_loc_batch, (2, 4), frozen_in_batch=("steps.0.",)),
    "collaborative_memory": MethodExample(collaborative_memory_config, collaborative_memory_batch, (2, 5)),
    "cross_x": MethodExample(cross_x_config, semiformer_batch, (4, 5)),
    "gta": MethodExample(gta_config, gta_batch, (2, 5)),
    "hierarchical_motion": MethodExample(hierarchical_motion_config, gta_batch, (2, 5)),
    "l2_caf": MethodExample(l2_caf_config, l2_caf_batch, (4, 5)),
    "mal": MethodExample(mal_config, mal_batch, (3, 1, 16, 16), frozen_in_batch=("teacher.",), has_classes=False),
    "semiformer": MethodExample(semiformer_config, semiformer_batch, (4, 5)),
    # Only the step before tubes become longer learns the boxes of neighbouring chunks.
    "step": MethodExample(
        step_config,
        step_batch,
        (2, 9, 5),
        frozen_in_batch=tuple(f"heads.{step}.local.{side}_deltas." for step in (0, 2) for side in ("first", "last")),
    ),
    # Scores are stretched to [0, 1], so what is added to all of them changes nothing.
    "stts": MethodExample(
        stts_config,
        stts_batch,
        (2, 5),
        frozen_in_batch=("temporal_selectors.0.scorer.output.bias", "spatial_selectors.0.scorer.output.bias"),
    ),
    "video_resnet": MethodExample(video_resnet_config, stts_batch, (2, 5)),
}
