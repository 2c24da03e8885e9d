"""STEP: cuboids that a cascade of heads turns into the tubes of people and what these do (Yang et al., "STEP:
Spatio-Temporal Progressive Learning for Video Action Detection", CVPR 2019, arXiv 1904.09288).

Facts are those of the official code at commit 59da38a; `tests/modeling/test_parity_step.py` compares with its values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ..configuration.configuration_step import StepConfig, proposal_grid
from .backbones.i3d import I3dModel, initialize_i3d_layer
from .backbones.i3d_overlaps import OverlappingClips
from .layers.tube_cascade import ClipFeatures, StepPrediction, TubeCascade
from .layers.tube_heads import ContextNetwork
from .layers.tube_training import cascade_losses
from .modeling_base import VidModelsPreTrainedModel, refuse_integers
from .ops.detections import keep_best, key_frame_boxes, suppress_by_class
from .ops.tube_checks import check_labels, check_proposals, checked_film_proposals, pad_proposals
from .ops.tube_extension import keep_in_frame


@dataclass
class StepOutput(ModelOutput):
    """What the detector says of M tubes in each of B clips. Boxes are x0, y0, x1, y1 in pixels of the frames.

    Args:
        loss: weighted sum over all steps, float32; only with labels.
        logits: (B, M, num_labels) of the last step, before sigmoid; None in training with labels.
        pred_boxes: (B, M, T_s, 4) of the last step, as predicted; None without local branch.
        tubes: (B, M, T_s, 4) what the last step looked at.
        step_logits: the same as `logits` of every step.
        step_boxes: the same as `pred_boxes` of every step.
        first_boxes: (B, M, T, 4) of every step the boxes in the chunk before its tubes, where they are asked for.
        last_boxes: in the chunk after.
        proposal_mask: (B, M) bool, tubes that come from a proposal and do not only fill up.
        cls_loss: float32, of the classes, summed over the steps; only with labels.
        reg_loss: of the boxes.
        neighbor_loss: of the boxes in neighbouring chunks.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    pred_boxes: torch.Tensor | None = None
    tubes: torch.Tensor | None = None
    step_logits: tuple[torch.Tensor, ...] | None = None
    step_boxes: tuple[torch.Tensor | None, ...] | None = None
    first_boxes: tuple[torch.Tensor | None, ...] | None = None
    last_boxes: tuple[torch.Tensor | None, ...] | None = None
    proposal_mask: torch.Tensor | None = None
    cls_loss: torch.Tensor | None = None
    reg_loss: torch.Tensor | None = None
    neighbor_loss: torch.Tensor | None = None


class StepPreTrainedModel(VidModelsPreTrainedModel):
    """Base of the detector: how its layers start."""

    config: StepConfig
    config_class = StepConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["MixedBlock", "LocalBottleneck"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d) or (isinstance(module, nn.Conv3d) and module.bias is not None):
            # All these stand in heads; of 3D convolutions only their projections have a bias.
            init.xavier_normal_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            initialize_i3d_layer(module)


class StepForActionDetection(StepPreTrainedModel):
    """Detects who does what where, in the key frame of a clip and around it.

    Attributes:
        needs_boxes: whether `detect_actions` must be given boxes, as a model without local branch moves none.

    Example:
        >>> model = AutoModelForActionDetection.from_pretrained("org/step-i3d-ava")
        >>> for found in model.detect_actions("film.mp4", processor):
        ...     print(found["timestamp"], found["boxes"], found["scores"])
    """

    def __init__(self, config: StepConfig) -> None:
        super().__init__(config)
        self.needs_boxes = not config.use_local_branch
        self.backbone = I3dModel(config.backbone_config)
        self.context = ContextNetwork(config) if config.use_context else None
        self.heads = TubeCascade(config)
        self.register_buffer("cuboids", torch.empty(len(_cuboids(config)), 4), persistent=False)
        self.freeze_fixed_weights()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.copy_(self.cuboids, torch.tensor(_cuboids(self.config)))

    def train(self, mode: bool = True) -> "StepForActionDetection":
        """Set the mode; norms with frozen statistics stay in evaluation mode."""
        super().train(mode)
        if self.config.freeze_batch_norm_stats:
            for norm in self._norms():
                norm.eval()
        return self

    def freeze_fixed_weights(self) -> None:
        """Let weights have no gradients that training never changes: norms where the configuration says so, and what
        tells the boxes of neighbouring chunks in steps that are not asked for them. Processes that train together wait
        for the gradients of all others."""
        if self.config.freeze_batch_norm_affine:
            for norm in self._norms():
                norm.requires_grad_(False)
        for step, head in enumerate(self.heads):
            if head.local is not None and not self.config.learns_neighbors(step):
                head.local.first_deltas.requires_grad_(False)
                head.local.last_deltas.requires_grad_(False)

    def _norms(self) -> Iterator[nn.BatchNorm3d]:
        return (module for module in self.modules() if isinstance(module, nn.BatchNorm3d))

    def forward(
        self,
        pixel_values: torch.Tensor,
        proposals: torch.Tensor | None = None,
        proposal_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        box_labels: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        return_dict: bool | None = None,
    ) -> StepOutput | tuple[Any, ...]:
        """Refine proposals step by step; with labels, draw the tubes that each step learns from and give the loss.

        Args:
            pixel_values: (B, num_frames, num_channels, H, W) in [-1, 1].
            proposals: (B, M, 4) boxes in pixels, or (B, M, T_1, 4) one for each feature frame of the first step;
                `None` for the configuration's cuboids.
            proposal_mask: (B, M) bool, False for rows that only fill up; `None` when all count.
            labels: (B, n, num_labels) of 0 and 1, what n people do.
            box_labels: (B, n, num_chunks, 4) where they are in the middle of each chunk, in pixels; zeros where that
                is not known. A row whose box in the middle chunk is zero only fills up.
            generator: of all draws; by default torch's own, and in evaluation mode one that always begins anew.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for anything that does not fit; see `ops/tube_checks.py`.
        """
        features = self.features(pixel_values)
        tubes, mask = self._first_tubes(pixel_values, proposals, proposal_mask)
        predictions: list[StepPrediction] = []
        if labels is None or not self.training:
            predictions = self.heads(features, tubes)
        losses = {}
        if labels is not None:
            check_labels(labels, box_labels, len(pixel_values), self.config.num_labels, self.config.num_chunks)
            if generator is None and not self.training:
                generator = torch.Generator(pixel_values.device).manual_seed(0)
            losses = cascade_losses(self.heads, features, tubes, mask, labels, box_labels, generator)
        output = StepOutput(**losses, **_arranged(predictions, len(pixel_values)), proposal_mask=mask)
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def detect_actions(
        self,
        video: Any,
        processor: Any,
        timestamps: Sequence[float] | None = None,
        proposals: Sequence[Any] | None = None,
        batch_size: int = 1,
        fps: float | None = None,
        step: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Go through a film, one key time after another; every frame is decoded once, and few are kept. What the first
        layers make of frames that two clips share is computed once.

        A film that was stopped goes on with the key times that are left.

        Args:
            video: a film as `open_video` takes it.
            processor: of the model.
            timestamps: ascending key times in seconds; `None` for every full second.
            proposals: for each key time boxes (m, 4) relative to the frame, instead of the cuboids.
            batch_size: key times in one forward pass.
            fps: frames in a second of a folder or array of frames.
            step: the step that answers, counted from 0; `None` for the last.

        Yields:
            for each key time `timestamp`; `boxes` (N, 4) float32, relative to the frame; `scores` (N, num_labels)
            float32, 0 where a class is not found at a box; `tubes` (N, chunk_length, 4), the boxes around the key
            time, and `tube_times` (chunk_length,) in seconds.

        Raises:
            ValueError: the model is in training mode, key times are not ascending or not inside the film, there is no
                such step, or boxes are missing, not relative, or not one set for each key time.
            UnreadableVideoError: the film cannot be decoded.
        """
        if self.training:
            raise ValueError("detect_actions answers in evaluation mode alone; call model.eval() before")
        num_steps = self.config.num_steps if step is None else step + 1
        if not 1 <= num_steps <= self.config.num_steps:
            raise ValueError(f"step must be one of the model's {self.config.num_steps} steps from 0 on, got {step}")
        times, clips = processor.key_frame_clips(video, timestamps, fps)
        boxes = checked_film_proposals(proposals, times, needs_boxes=self.needs_boxes)
        # A generator of its own, so that a wrong argument is reported by the call and not by the first `next`.
        return self._detect(processor, times, clips, boxes, batch_size, num_steps)

    @torch.no_grad()
    def _detect(
        self,
        processor: Any,
        times: np.ndarray,
        clips: Iterator[torch.Tensor],
        proposals: list[torch.Tensor] | None,
        batch_size: int,
        num_steps: int,
    ) -> Iterator[dict[str, Any]]:
        """Answer batch by batch; of the last step only the boxes of the key chunk are asked for."""
        config = self.config
        count, length = config.chunks_per_step[num_steps - 1] * config.chunk_length, config.chunk_length
        around = list(range((count - length) // 2, (count + length) // 2))
        # A feature frame stands for `temporal_stride` frames; its time is their middle.
        chunk = (np.arange(length) - length / 2 + 0.5) * config.temporal_stride - 0.5
        height, width = config.frame_size
        sides = torch.tensor([width, height, width, height], device=self.device)
        overlaps = OverlappingClips(self.backbone)
        shifts = np.round(np.diff(times, prepend=times[:1]) * processor.frame_rate).astype(int).tolist()
        for start in range(0, len(times), batch_size):
            batch = torch.stack(list(islice(clips, batch_size))).to(self.device, self.dtype)
            given = None if proposals is None else proposals[start : start + batch_size]
            padded, mask = (None, None) if given is None else pad_proposals(given, sides)
            tubes, mask = self._first_tubes(batch, padded, mask)
            self._check_clips(batch)
            features = self._seen(overlaps(batch, shifts[start : start + batch_size]))
            predictions = self.heads(features, tubes, num_steps, around)
            outputs = StepOutput(**_arranged(predictions, len(batch)), proposal_mask=mask)
            pixels, scores = key_frame_boxes(outputs, -1, config.frame_size)
            found = suppress_by_class(pixels, scores, processor.score_threshold, processor.nms_threshold)
            scores = keep_best(scores, found, processor.detections_per_clip)
            whole = outputs.tubes[:, :, around] if outputs.pred_boxes is None else outputs.pred_boxes
            whole = keep_in_frame(whole, config.frame_size)
            boxes, whole, scores = (pixels / sides).cpu(), (whole / sides).cpu(), scores.cpu()
            for clip, time in enumerate(times[start : start + batch_size].tolist()):
                kept = scores[clip].any(-1)
                yield {
                    "timestamp": time,
                    "boxes": boxes[clip, kept].numpy(),
                    "scores": scores[clip, kept].numpy(),
                    "tubes": whole[clip, kept].numpy(),
                    "tube_times": time + chunk / processor.frame_rate,
                }

    def features(self, pixel_values: torch.Tensor) -> ClipFeatures:
        """Give what heads look at, of clips (B, num_frames, num_channels, H, W).

        Raises:
            ValueError: for clips of another shape.
        """
        self._check_clips(pixel_values)
        return self._seen(self.backbone(pixel_values).last_hidden_state)

    def _seen(self, maps: torch.Tensor) -> ClipFeatures:
        """Give what heads look at, of the trunk's maps."""
        return ClipFeatures(maps.transpose(1, 2), None if self.context is None else self.context(maps))

    def _check_clips(self, pixel_values: torch.Tensor) -> None:
        config = self.config
        wanted = (config.num_frames, config.backbone_config.num_channels, *config.frame_size)
        if pixel_values.ndim != 5 or tuple(pixel_values.shape[1:]) != wanted:
            raise ValueError(
                f"pixel_values must be (batch, {', '.join(map(str, wanted))}), which are frames, channels, height and "
                f"width, got shape {tuple(pixel_values.shape)}"
            )
        refuse_integers(pixel_values)

    def _first_tubes(
        self, pixel_values: torch.Tensor, proposals: torch.Tensor | None, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the tubes (B * M, T_1, 4) that the first step looks at, and which of them count (B, M)."""
        config, batch = self.config, len(pixel_values)
        length = config.chunk_length * config.chunks_per_step[0]
        if proposals is None:
            height, width = config.frame_size
            sides = enumerate((width, height, width, height))
            boxes = torch.stack([self.cuboids[:, axis].float() * side for axis, side in sides], dim=1)
            proposals = boxes.expand(batch, -1, -1)
        else:
            check_proposals(proposals, mask, batch, length, config.frame_size)
        if proposals.ndim == 3:
            proposals = proposals[:, :, None].expand(-1, -1, length, -1)
        if mask is None:
            mask = torch.ones(proposals.shape[:2], dtype=torch.bool, device=proposals.device)
        return proposals.float().flatten(0, 1), mask.bool()


def _cuboids(config: StepConfig) -> list[list[float]]:
    """Give the boxes that a clip is searched from, relative to the frame."""
    return [*proposal_grid(config.proposal_scales, config.proposal_overlaps), *config.extra_proposals]


def _arranged(predictions: Sequence[StepPrediction], batch: int) -> dict[str, Any]:
    """Give the fields of the output, with an axis for the clips."""
    if not predictions:
        return {}

    def by_clip(values: torch.Tensor | None) -> torch.Tensor | None:
        return None if values is None else values.unflatten(0, (batch, -1))

    logits = tuple(by_clip(prediction.scores.logits) for prediction in predictions)
    boxes = tuple(by_clip(prediction.boxes) for prediction in predictions)
    return {
        "logits": logits[-1],
        "pred_boxes": boxes[-1],
        "tubes": by_clip(predictions[-1].tubes),
        "step_logits": logits,
        "step_boxes": boxes,
        "first_boxes": tuple(by_clip(prediction.first_boxes) for prediction in predictions),
        "last_boxes": tuple(by_clip(prediction.last_boxes) for prediction in predictions),
    }
