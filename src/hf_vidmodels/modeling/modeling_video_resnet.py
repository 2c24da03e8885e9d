"""Plain classifiers and detectors on residual video networks: the models of the SlowFast and pytorchvideo zoos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.utils import ModelOutput

from ..configuration.configuration_video_resnet import MULTI_LABEL, VideoResNetConfig
from .backbones.video_resnet import VideoResNetModel, VideoResNetPreTrainedModel
from .layers.video_heads import VideoClassificationHead, boxes_in_pixels, roi_features
from .ops.classification_loss import classification_loss
from .ops.tube_checks import checked_film_proposals


@dataclass
class VideoResNetClassifierOutput(ModelOutput):
    """What the classifier says of B clips.

    Args:
        loss: cross entropy (binary for several labels a clip), float32; only with labels.
        logits: (B, num_labels) before softmax or sigmoid.
        hidden_states: maps (B, C, T, H, W) of the first pathway that leave the stem and res2 to res5; on request.
        fast_hidden_states: the same of the fast pathway.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    fast_hidden_states: tuple[torch.Tensor, ...] | None = None


class VideoResNetForVideoClassification(VideoResNetPreTrainedModel):
    """A residual video network with its classifier.

    Example:
        >>> model = AutoModelForVideoClassification.from_pretrained("org/slowfast-r50-8x8")
        >>> model(pixel_values).logits.argmax(-1)   # (B, T, 3, H, W), normalised
    """

    def __init__(self, config: VideoResNetConfig) -> None:
        super().__init__(config)
        self.backbone = VideoResNetModel(config)
        self.head = VideoClassificationHead(config)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        pixel_values_slow: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> VideoResNetClassifierOutput | tuple[Any, ...]:
        """Classify clips.

        Args:
            pixel_values: (B, T, C, H, W) normalised frames; SlowFast takes the slow pathway's among them.
            labels: class ids (B,), target probabilities (B, num_labels), or for a multi-label model 0 and 1
                (B, num_labels); gives a loss.
            pixel_values_slow: (B, T / alpha, C, H, W) frames of SlowFast's slow pathway, where they are not those.
            output_hidden_states: also return the maps of stem and stages.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for clips or labels that do not fit.
        """
        wants_states = self._asked_for("output_hidden_states", output_hidden_states)
        features = self.backbone(pixel_values, pixel_values_slow, output_hidden_states=wants_states)
        logits = self.head(features.feature_maps)
        config = self.config
        output = VideoResNetClassifierOutput(
            loss=None
            if labels is None
            else classification_loss(logits, labels, multi_label=config.problem_type == MULTI_LABEL),
            logits=logits,
            hidden_states=features.hidden_states,
            fast_hidden_states=features.fast_hidden_states,
        )
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()


@dataclass
class VideoResNetDetectorOutput(ModelOutput):
    """What the detector says of N boxes.

    Args:
        loss: binary cross entropy, float32; only with labels.
        logits: (N, num_labels) before sigmoid.
        roi_features: (N, feature_width) what the classifier sees.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    roi_features: torch.Tensor | None = None


class VideoResNetForActionDetection(VideoResNetPreTrainedModel):
    """A residual video network that says what people in given boxes do, as AVA's baselines (SlowFast, ICCV 2019).

    Attributes:
        needs_boxes: `detect_actions` must be given the boxes of people.
    """

    needs_boxes = True

    def __init__(self, config: VideoResNetConfig) -> None:
        super().__init__(config)
        self.backbone = VideoResNetModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.feature_width, config.num_labels)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        boxes: torch.Tensor,
        labels: torch.Tensor | None = None,
        pixel_values_slow: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> VideoResNetDetectorOutput | tuple[Any, ...]:
        """Classify what happens in boxes.

        Args:
            pixel_values: (B, T, C, H, W) normalised frames around the key frame.
            boxes: (N, 5), number of the clip and x0, y0, x1, y1 in pixels of the frames.
            labels: (N, num_labels) of 0 and 1; gives a loss.
            pixel_values_slow: as of the classifier.
            return_dict: `False` for a tuple.

        Raises:
            ValueError: for clips, boxes or labels that do not fit.
        """
        config = self.config
        maps = self.backbone(pixel_values, pixel_values_slow).feature_maps
        features = roi_features(maps, boxes, config.spatial_stride, config.roi_aligned)
        logits = self.classifier(self.dropout(features))
        output = VideoResNetDetectorOutput(
            loss=None if labels is None else classification_loss(logits, labels, multi_label=True),
            logits=logits,
            roi_features=features,
        )
        return output if self._asked_for("return_dict", return_dict) else output.to_tuple()

    @torch.no_grad()
    def detect_actions(
        self,
        video: Any,
        processor: Any,
        timestamps: Sequence[float] | np.ndarray | None = None,
        proposals: Sequence[np.ndarray] | None = None,
        batch_size: int = 1,
        fps: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Say what people in given boxes do at key times of a film; frames are decoded once, a few are in memory.

        Args:
            video: what the processor opens.
            processor: of this checkpoint.
            timestamps: ascending key times in seconds; None for every full second of the film.
            proposals: boxes of people at each key time, (m, 4) xyxy relative to width and height.
            batch_size: key times in one forward pass.
            fps: frames a second of a folder of frames or an array.

        Yields:
            For each key time `timestamp`, `boxes` (m, 4) float32 as given, and `scores` (m, C) float32 in [0, 1].

        Raises:
            ValueError: no boxes, not as many as key times, or boxes outside [0, 1]; a film without timing.
            FileNotFoundError, UnreadableVideoError: the film cannot be read.
        """
        times, clips = processor.key_frame_clips(video, timestamps, fps)
        boxes = checked_film_proposals(proposals, times, needs_boxes=True)
        # A generator of its own, so that a wrong argument is reported by the call and not by the first `next`.
        return self._detect(times, clips, boxes, batch_size)

    @torch.no_grad()
    def _detect(
        self, times: np.ndarray, clips: Iterator[torch.Tensor], boxes: list[torch.Tensor], batch_size: int
    ) -> Iterator[dict[str, Any]]:
        for start in range(0, len(times), batch_size):
            batch = torch.stack(list(islice(clips, batch_size))).to(self.device, self.dtype)
            given = boxes[start : start + batch_size]
            rois = boxes_in_pixels(given, *batch.shape[-2:]).to(batch)
            scores = torch.zeros(0, self.config.num_labels)
            if len(rois):
                scores = self(batch, rois).logits.float().sigmoid().cpu()
            parts = scores.split([len(of_clip) for of_clip in given])
            for time, of_clip, part in zip(times[start : start + batch_size].tolist(), given, parts, strict=True):
                yield {"timestamp": time, "boxes": of_clip.numpy(), "scores": part.numpy()}
