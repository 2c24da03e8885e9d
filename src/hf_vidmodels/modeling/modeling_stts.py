"""STTS: Wang et al., "Efficient Video Transformers with Spatial-Temporal Token Selection", ECCV 2022, arXiv
2111.11591. Written from facts about the official code (commit 6ae3404).

A video classifier that looks at few tokens: between the blocks of a transformer small scorers choose the frames, and
in each frame the square window, that go on. The budget is fixed by the configuration and the classification loss alone
trains everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..configuration.configuration_backbones import Grid
from ..configuration.configuration_stts import SelectorPlan, SttsConfig
from .backbones.mvit import MvitModel
from .backbones.video_swin import VideoSwinModel
from .backbones.video_transformer import TokenFilter, VideoTransformer
from .layers.token_selection import SelectionPass, SpatialSelector, TemporalSelector
from .ops.classification_loss import classification_loss

BACKBONE_CLASSES = {"mvit": MvitModel, "video_swin": VideoSwinModel}
SWIN_CLASSIFIER_STD = 0.01


@dataclass
class SttsOutput(ModelOutput):
    """What the classifier says of B clips, and what it looked at. Lists are in the order of the selectors.

    Args:
        loss: cross entropy, float32, binary for independent classes; only with labels.
        logits: (B, num_labels) before softmax.
        temporal_indices: per temporal selector (B, k), the frames of its input that went on, ascending; while mixing
            softly those that a hard choice would take.
        spatial_indices: per spatial selector (B, T), the window of every frame, numbered row by row.
        temporal_scores: per learned temporal selector (B, T) in [0, 1].
        spatial_scores: per learned spatial selector (B, T, windows) in [0, 1].
        hidden_states: per block or stage the tokens (B, N, C) that leave it; on request.
        attentions: per block its attention weights; on request.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    temporal_indices: tuple[torch.Tensor, ...] | None = None
    spatial_indices: tuple[torch.Tensor, ...] | None = None
    temporal_scores: tuple[torch.Tensor, ...] | None = None
    spatial_scores: tuple[torch.Tensor, ...] | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class SttsForVideoClassification(VideoTransformer):
    """A video transformer with token selection and a linear classifier.

    In training mode selectors mix candidates by relaxed indicators, in evaluation mode they choose. The relaxation's
    noise level follows from the progress of training alone: give `sigma=config.sigma_at(progress)` with every step.

    Example:
        >>> model = AutoModelForVideoClassification.from_pretrained("org/stts-mvit-b")
        >>> model(pixel_values).logits.argmax(-1)   # (B, T, 3, H, W), normalised
    """

    config: SttsConfig
    config_class = SttsConfig
    _no_split_modules = ["MvitBlock", "VideoSwinBlock"]

    def __init__(self, config: SttsConfig) -> None:
        super().__init__(config)
        self.backbone = BACKBONE_CLASSES[config.backbone_type](config.backbone_config)
        plans = config.selector_plans()
        self.temporal_selectors = nn.ModuleList(
            TemporalSelector(config, plan) for plan in plans if plan.kind == "temporal"
        )
        self.spatial_selectors = nn.ModuleList(
            SpatialSelector(config, plan) for plan in plans if plan.kind == "spatial"
        )
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(self.backbone.norm.normalized_shape[0], config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.classifier and self.config.backbone_type == "video_swin":
            init.normal_(module.weight, std=SWIN_CLASSIFIER_STD)

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        sigma: float | None = None,
        noise: Sequence[torch.Tensor] | None = None,
        generator: torch.Generator | None = None,
        soft_selection: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> SttsOutput | tuple[Any, ...]:
        """Classify clips.

        Args:
            pixel_values: (B, T, 3, H, W) normalised frames of the configured size.
            labels: (B,) class ids, or (B, num_labels) target probabilities; where `problem_type` is
                `"multi_label_classification"`, (B, num_labels) with 1 for each class of a clip. Gives a loss.
            sigma: noise level of the relaxed choice; by default that of the beginning of training.
            noise: standard normal values for the relaxed choice, one tensor (rows, samples, candidates) for each
                selector in the order in which they act; rows are clips or, for spatial selectors, their frames.
            generator: draws the noise, and the choices of mode `"random"`; by default torch's own. In evaluation mode
                `"random"` without a generator takes one fixed draw for all clips.
            soft_selection: mix (True) or choose (False); by default as the mode is.
            output_hidden_states: also return what every block or stage gives.
            output_attentions: also return the attention weights.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for clips or labels that do not fit, and in evaluation for scores that are no numbers.
        """
        self._check_clips_fit(pixel_values)
        if sigma is not None and not sigma >= 0:
            raise ValueError(f"sigma must be 0 or more, got {sigma}")
        selection = SelectionPass(
            is_soft=self.training if soft_selection is None else soft_selection,
            sigma=self.config.sigma_at(0.0) if sigma is None else sigma,
            noise=None if noise is None else iter(noise),
            generator=generator,
            is_training=self.training,
        )
        backbone = self.backbone(
            pixel_values,
            self._token_filters(selection),
            self._asked_for("output_hidden_states", output_hidden_states),
            self._asked_for("output_attentions", output_attentions),
            pooled_only=True,
        )
        logits = self.classifier(self.dropout(backbone.pooler_output))
        output = SttsOutput(
            loss=None if labels is None else classification_loss(logits, labels, multi_label=self.is_multi_label),
            logits=logits,
            temporal_indices=tuple(selection.temporal_indices),
            spatial_indices=tuple(selection.spatial_indices),
            temporal_scores=tuple(selection.temporal_scores),
            spatial_scores=tuple(selection.spatial_scores),
            hidden_states=backbone.hidden_states,
            attentions=backbone.attentions,
        )
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def _token_filters(self, selection: SelectionPass) -> dict[int, TokenFilter]:
        """Give per layer what is called on its tokens; before one layer time is selected first."""
        filters: dict[int, TokenFilter] = {}
        for selector in (*self.temporal_selectors, *self.spatial_selectors):
            layer, act = selector.plan.layer, partial(selector, selection=selection)
            filters[layer] = partial(_one_after_the_other, filters[layer], act) if layer in filters else act
        return filters

    def _check_clips_fit(self, pixel_values: torch.Tensor) -> None:
        """Refuse clips of another size than the selectors were made for; the message says what would fit."""
        self.backbone.check_clips(pixel_values)
        expected = (self.config.backbone_config.num_frames, *self.config.frame_size)
        frames, _, *size = pixel_values.shape[1:]
        if (frames, *size) != expected:
            raise ValueError(
                f"pixel_values has {frames} frames of {size[0]} x {size[1]} pixels, but the model takes {expected[0]} "
                f"of {expected[1]} x {expected[2]}; sample, resize and crop accordingly, or change num_frames and "
                "image_size"
            )


def kept_regions(output: SttsOutput, config: SttsConfig) -> list[list[dict[str, Any]]]:
    """Say which frames and regions reached the end of the network, for drawing.

    Args:
        output: the model's answer for B clips.
        config: the model's configuration.

    Returns:
        Per clip and kept plane of tokens, in order of time, a dict of `frames` (the frames of the clip that the plane
        covers, such as [4, 5]) and `box` (xyxy in pixels of the frame as the model sees it).
    """
    batch_size = len(output.logits)
    backbone = config.backbone_config
    grid, (height, width) = backbone.patch_grid, config.frame_size
    stride = backbone.patch_stride if config.backbone_type == "mvit" else backbone.patch_size
    planes = torch.arange(grid[0]).expand(batch_size, -1)
    # Padding at the right and bottom edge belongs to the tokens but not to the frame.
    region = torch.tensor([0.0, 0.0, grid[2] * stride[2], grid[1] * stride[1]])
    boxes = region.expand(batch_size, grid[0], 4)
    temporal, spatial = iter(output.temporal_indices), iter(output.spatial_indices)
    for plan in config.selector_plans():
        if plan.kind == "temporal":
            indices = next(temporal).cpu()
            planes = planes.gather(1, indices)
            boxes = boxes.gather(1, indices[..., None].expand(-1, -1, 4))
        else:
            boxes = _windows_of(boxes, next(spatial).cpu(), plan)
    boxes = torch.minimum(boxes, torch.tensor([width, height, width, height]))
    first = planes * stride[0]
    return [
        [
            {"frames": list(range(start, min(start + stride[0], backbone.num_frames))), "box": box}
            for start, box in zip(starts, clip_boxes, strict=True)
        ]
        for starts, clip_boxes in zip(first.tolist(), boxes.tolist(), strict=True)
    ]


def _windows_of(boxes: torch.Tensor, anchors: torch.Tensor, plan: SelectorPlan) -> torch.Tensor:
    """Cut the chosen windows (B, T) out of the regions (B, T, 4) that the selector's grid covers."""
    cells = torch.stack((boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]), dim=-1) / plan.grid[1]
    corner = torch.stack((anchors % plan.anchors_per_side, anchors // plan.anchors_per_side), dim=-1)
    upper_left = boxes[..., :2] + corner * plan.anchor_stride * cells
    return torch.cat((upper_left, upper_left + plan.kept * cells), dim=-1)


def _one_after_the_other(
    first: TokenFilter, second: TokenFilter, tokens: torch.Tensor, grid: Grid
) -> tuple[torch.Tensor, Grid]:
    return second(*first(tokens, grid))
