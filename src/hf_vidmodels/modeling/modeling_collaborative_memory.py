"""Collaborative Memory: Yang et al., "Beyond Short Clips: End-to-End Video-Level Learning with Collaborative
Memories", CVPR 2021, arXiv 2104.01198. No code of the paper is public; what is stated there and what is our
reconstruction is said in `layers/shared_memory.py`.

Several clips of one video go through one network. Each pushes its features into a memory of the video, takes back what
concerns it, and uses that to weigh its features before the classifier.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.utils import ModelOutput

from ..configuration.configuration_collaborative_memory import CollaborativeMemoryConfig
from ..configuration.configuration_video_resnet import MULTI_LABEL
from .backbones.mvit import MvitModel
from .backbones.video_resnet import VideoResNetModel, VideoResNetPreTrainedModel
from .backbones.video_swin import VideoSwinModel
from .layers.shared_memory import MemoryState, SharedMemory
from .layers.video_heads import boxes_in_pixels, roi_features
from .ops.classification_loss import classification_loss
from .ops.tube_checks import checked_film_proposals

BACKBONE_CLASSES = {model.config_class.model_type: model for model in (VideoResNetModel, MvitModel, VideoSwinModel)}


@dataclass
class CollaborativeMemoryOutput(ModelOutput):
    """What the classifier says of B videos of N clips.

    Args:
        loss: weighted sum of the losses of videos and clips, float32; only with labels.
        logits: (B, num_labels) of the videos, before softmax or sigmoid.
        clip_logits: (B, N, num_labels); of clips that the mask leaves out they mean nothing.
        plain_clip_logits: (B, N, num_labels) of each clip by itself, before it has read; on request.
        gates: (B, N, C) by which each clip's features were weighed, in (0, 1); not of residual infusion.
        memory: what has been pushed, to be given on as `past_memory`; not of self-attention.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    clip_logits: torch.Tensor | None = None
    plain_clip_logits: torch.Tensor | None = None
    gates: torch.Tensor | None = None
    memory: tuple[torch.Tensor, ...] | None = None


@dataclass
class CollaborativeMemoryDetectorOutput(ModelOutput):
    """What the detector says of K boxes.

    Args:
        loss: binary cross entropy, float32; only with labels. 0 without boxes.
        logits: (K, num_labels) before sigmoid.
        roi_features: (K, C) what the classifier sees.
        gates: (B, 1, C) by which the features of each key frame's clip were weighed; not of residual infusion.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    roi_features: torch.Tensor | None = None
    gates: torch.Tensor | None = None


class CollaborativeMemoryPreTrainedModel(VideoResNetPreTrainedModel):
    """What classifier and detector share: the network for clips and the memory."""

    config: CollaborativeMemoryConfig
    config_class = CollaborativeMemoryConfig
    _no_split_modules = ["Bottleneck", "MvitBlock", "VideoSwinBlock", "SharedMemory"]

    def __init__(self, config: CollaborativeMemoryConfig) -> None:
        super().__init__(config)
        self.backbone = BACKBONE_CLASSES[config.backbone_config.model_type](config.backbone_config)
        self.memory = None
        if config.memory_type != "none":
            self.memory = SharedMemory(
                config.feature_width,
                config.key_width,
                config.value_width,
                config.memory_type,
                config.infusion_type,
                config.memory_stop_gradient,
            )
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.feature_width, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        layers = () if self.memory is None else self.memory.named_children()
        role = next((name for name, layer in layers if layer is module), None)
        if role is None:
            super()._init_weights(module)
        else:
            self.memory.start_layer(role, self.config.gate_bias_init, self.config.initializer_range)

    def clip_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Give the features that clips push.

        Args:
            pixel_values: (B, N, T, C, H, W) normalised frames.

        Returns:
            (B, N, C', T', H', W').

        Raises:
            ValueError: for anything but clips of videos.
        """
        if pixel_values.ndim != 6:
            raise ValueError(
                "pixel_values must be (batch, clips, frames, channels, height, width), got shape "
                f"{tuple(pixel_values.shape)}; a single clip of each video needs an axis of length 1"
            )
        if self.training and self.config.training_mode == "two_pass":
            clips = (checkpoint(self._map, clip, **self._recomputation()) for clip in pixel_values.unbind(1))
            return torch.stack(list(clips), dim=1)
        return self._map(pixel_values.flatten(0, 1)).unflatten(0, pixel_values.shape[:2])

    def _map(self, clips: torch.Tensor) -> torch.Tensor:
        """Give the last maps (B, C', T', H', W'), the fast pathway's averaged down to the frames of the slow one."""
        output = self.backbone(clips)
        if not isinstance(self.backbone, VideoResNetModel):
            return output.feature_map
        slow, *fast = output.feature_maps
        return torch.cat([slow, *(nn.functional.adaptive_avg_pool3d(maps, slow.shape[2:]) for maps in fast)], dim=1)

    def _recomputation(self) -> dict[str, Any]:
        return {"use_reentrant": False, "context_fn": lambda: (nullcontext(), _frozen_statistics(self.backbone))}


class CollaborativeMemoryForVideoClassification(CollaborativeMemoryPreTrainedModel):
    """A classifier of videos whose clips share a memory.

    Example:
        >>> model = AutoModelForVideoClassification.from_pretrained("org/collaborative-memory-slow-r50-k400")
        >>> model(pixel_values).logits.argmax(-1)   # (B, N, T, 3, H, W), normalised

    Attributes:
        sees_whole_videos: that clips come by video, with an axis of clips.
    """

    sees_whole_videos = True

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        clip_mask: torch.Tensor | None = None,
        past_memory: tuple[torch.Tensor, ...] | None = None,
        update_memory: bool = True,
        use_memory: bool = True,
        output_plain_clip_logits: bool = False,
        return_dict: bool | None = None,
    ) -> CollaborativeMemoryOutput | tuple[Any, ...]:
        """Classify videos, each by all its clips.

        Args:
            pixel_values: (B, N, T, C, H, W) normalised frames of N clips of each video.
            labels: class ids (B,), target probabilities (B, num_labels), or for a multi-label model 0 and 1
                (B, num_labels); gives a loss.
            clip_mask: (B, N) bool, False for clips that a shorter video lacks: they change nothing.
            past_memory: the `memory` of an earlier call with other clips of the same videos. So a long film goes
                through clip by clip, and needs the memory of one.
            update_memory: whether these clips push; False lets them read a `past_memory` that holds the whole film.
            use_memory: False classifies each clip by itself, as the network without memory does.
            output_plain_clip_logits: also give what each clip says by itself.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for clips, masks or labels that do not fit, and for a video without clips.
        """
        features = self.clip_features(pixel_values)
        mask = check_clip_mask(clip_mask, features.shape[:2])
        gates, memory, plain = None, None, None
        if use_memory and self.memory is not None:
            past = None if past_memory is None else MemoryState(*past_memory)
            pooled, _, gates, memory = self.memory(features, mask, past, update=update_memory)
        else:
            pooled = features.mean((3, 4, 5))
        clip_logits = self.classifier(self.dropout(pooled))
        if output_plain_clip_logits:
            plain = self.classifier(self.dropout(features.mean((3, 4, 5))))
        logits = self._aggregate(clip_logits, mask)
        output = CollaborativeMemoryOutput(
            loss=None if labels is None else self._loss(logits, clip_logits, labels, mask),
            logits=logits,
            clip_logits=clip_logits,
            plain_clip_logits=plain,
            gates=gates,
            memory=None if memory is None else tuple(memory),
        )
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def _aggregate(self, clip_logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if self.config.clip_aggregation == "max":
            if mask is not None:
                clip_logits = clip_logits.masked_fill(~mask[..., None], -torch.inf)
            return clip_logits.amax(1)
        if mask is None:
            return clip_logits.mean(1)
        return clip_logits.where(mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True)

    def _loss(
        self, logits: torch.Tensor, clip_logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        config = self.config
        multi_label = config.problem_type == MULTI_LABEL
        loss = config.video_loss_weight * classification_loss(logits, labels, multi_label=multi_label)
        if config.clip_loss_weight:
            num_clips = clip_logits.shape[1]
            clip_labels = labels.repeat_interleave(num_clips, dim=0)
            clips = clip_logits.flatten(0, 1)
            if mask is not None:
                clips, clip_labels = clips[mask.flatten()], clip_labels[mask.flatten()]
            loss = loss + config.clip_loss_weight * classification_loss(clips, clip_labels, multi_label=multi_label)
        return loss


class CollaborativeMemoryForActionDetection(CollaborativeMemoryPreTrainedModel):
    """Says what people in given boxes of a key frame do; clips from all around it tell what goes on in the film.

    Example:
        >>> model = AutoModelForActionDetection.from_pretrained("org/collaborative-memory-ava")
        >>> for found in model.detect_actions("film.mp4", processor, proposals=boxes_of_people):
        ...     found["boxes"], found["scores"]

    Attributes:
        needs_boxes: `detect_actions` must be given the boxes of people.
    """

    needs_boxes = True

    def forward(
        self,
        pixel_values: torch.Tensor,
        boxes: torch.Tensor,
        labels: torch.Tensor | None = None,
        clip_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> CollaborativeMemoryDetectorOutput | tuple[Any, ...]:
        """Classify what happens in boxes.

        Args:
            pixel_values: (B, N, T, C, H, W) normalised frames of N clips around each key frame; clip `config.center`
                is the one with the key frame in its middle.
            boxes: (K, 5), number of the key frame in the batch and x0, y0, x1, y1 in pixels of the frames. K may be 0.
            labels: (K, num_labels) of 0 and 1; gives a loss.
            clip_mask: (B, N) bool, False for clips beyond the ends of the film.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for clips, masks, boxes or labels that do not fit, and for key frames without their own clip.
        """
        config = self.config
        features = self.clip_features(pixel_values)
        num_clips = features.shape[1]
        center = config.center if num_clips == config.num_clips or config.center_clip is not None else num_clips // 2
        if center >= num_clips:
            raise ValueError(f"center_clip is {center}, but only {num_clips} clips of each key frame were given")
        mask = check_clip_mask(clip_mask, features.shape[:2], center)
        logits, found, gates = self._answer(features, boxes, center, mask)
        loss = None
        if labels is not None:
            # A mean over no boxes would be no number.
            loss = classification_loss(logits, labels, multi_label=True) if len(boxes) else logits.float().sum()
        output = CollaborativeMemoryDetectorOutput(loss=loss, logits=logits, roi_features=found, gates=gates)
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    def _answer(
        self, features: torch.Tensor, boxes: torch.Tensor, center: int, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Give logits and features of boxes, and the gates of their clips."""
        maps, gates = features[:, center], None
        if self.memory is not None:
            infused = self.memory(features, mask, reader=center, return_maps=True)
            maps, gates = infused.maps[:, 0], infused.gates
        found = roi_features((maps,), boxes, self.config.spatial_stride, self.config.roi_aligned)
        return self.classifier(self.dropout(found)), found, gates

    def detect_actions(
        self,
        video: Any,
        processor: Any,
        timestamps: Sequence[float] | np.ndarray | None = None,
        proposals: Sequence[Any] | None = None,
        batch_size: int = 1,
        fps: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Say what people in given boxes do at key times of a film.

        A key time is seen together with clips spread over the `config.context_seconds` around it. Each clip is decoded
        and goes through the network once, however many key times see it; features are kept for that long.

        Args:
            video: what the processor opens.
            processor: of this checkpoint.
            timestamps: ascending key times in seconds; None for every full second of the film.
            proposals: boxes of people at each key time, (m, 4) xyxy relative to width and height.
            batch_size: clips in one forward pass.
            fps: frames a second of a folder of frames or an array.

        Yields:
            For each key time `timestamp`, `boxes` (m, 4) float32 as given, and `scores` (m, C) float32 in [0, 1].

        Raises:
            ValueError: the model is in training mode; no boxes, not as many as key times, or boxes outside [0, 1]; key
                times outside the film; a film without timing.
            FileNotFoundError, UnreadableVideoError: the film cannot be read.
        """
        if self.training:
            raise ValueError("detect_actions answers in evaluation mode alone; call model.eval() before")
        config = self.config
        num_clips, center = (1, 0) if self.memory is None else (config.num_clips, config.center)
        times, places, clips = processor.context_clips(
            video, num_clips, center, config.context_seconds, timestamps=timestamps, fps=fps
        )
        boxes = checked_film_proposals(proposals, times, needs_boxes=True)
        # A generator of its own, so that a wrong argument is reported by the call and not by the first `next`.
        return self._detect(times, clips, places, boxes, center, batch_size)

    @torch.no_grad()
    def _detect(
        self,
        times: np.ndarray,
        clips: Iterator[torch.Tensor],
        places: np.ndarray,
        boxes: list[torch.Tensor],
        center: int,
        batch_size: int,
    ) -> Iterator[dict[str, Any]]:
        """Answer at each key time as soon as the last of its clips, numbered (K, N) in `places`, has been seen."""
        kept: dict[int, torch.Tensor] = {}
        seen, height, width = 0, 0, 0
        for time, row, of_time in zip(times.tolist(), places, boxes, strict=True):
            while seen <= row.max():
                batch = torch.stack(list(islice(clips, batch_size))).to(self.device, self.dtype)
                height, width = batch.shape[-2:]
                kept |= enumerate(self._map(batch), seen)
                seen += len(batch)
            kept = {number: maps for number, maps in kept.items() if number >= row.min()}
            scores = torch.zeros(0, self.config.num_labels)
            if len(of_time):
                features = torch.stack([kept[number] for number in row])[None]
                rois = boxes_in_pixels([of_time], height, width).to(features)
                scores = self._answer(features, rois, center, None)[0].float().sigmoid().cpu()
            yield {"timestamp": time, "boxes": of_time.numpy(), "scores": scores.numpy()}


def check_clip_mask(
    clip_mask: torch.Tensor | None, shape: tuple[int, ...], center: int | None = None
) -> torch.Tensor | None:
    """Give a mask as bool (B, N).

    Args:
        clip_mask: as given.
        shape: (B, N).
        center: a clip that must be there.

    Raises:
        ValueError: for another shape, and for a video without clips. Values are looked at on the CPU only: on an
            accelerator that would stall the step.
    """
    if clip_mask is None:
        return None
    if clip_mask.shape != shape:
        raise ValueError(f"clip_mask must be (batch, clips) = {tuple(shape)}, got shape {tuple(clip_mask.shape)}")
    mask = clip_mask.bool()
    if mask.device.type == "cpu" and not torch.compiler.is_compiling():
        lacking = ~(mask.any(1) if center is None else mask[:, center])
        if lacking.any():
            what = "all its clips" if center is None else f"clip {center} with its key frame"
            raise ValueError(
                f"clip_mask leaves out {what} of video {int(lacking.nonzero()[0])} of the batch; nothing is left to "
                "classify"
            )
    return mask


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms use the batch's statistics and leave the running ones alone, which saw this batch before."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    kept = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, kept, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(count)
