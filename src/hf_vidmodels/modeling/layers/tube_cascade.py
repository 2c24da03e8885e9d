"""The heads of STEP one after another: each looks at the tubes that the one before it has made (section 3)."""

from dataclasses import dataclass

import torch
from torch import nn

from ...configuration.configuration_step import StepConfig
from ..ops.box_coding import decode_boxes
from ..ops.tube_extension import extend_by_boxes, extend_by_mean, extend_linearly, keep_in_frame
from .tube_heads import TubeScores, TwoBranchHead, cut_tubes


@dataclass
class ClipFeatures:
    """What heads look at.

    Attributes:
        frames: (B, T_f, C, h, w) feature frames.
        context: (B, T_f, tail_width) the frames as a whole, or None.
    """

    frames: torch.Tensor
    context: torch.Tensor | None

    def detach(self) -> "ClipFeatures":
        """The same without gradients."""
        return ClipFeatures(self.frames.detach(), None if self.context is None else self.context.detach())


@dataclass
class StepPrediction:
    """What one step made of N tubes.

    Attributes:
        tubes: (N, T_s, 4) what it looked at.
        scores: what its head said.
        boxes: (N, F, 4) where the boxes of the asked frames are now; None without local branch.
        first_boxes: (N, T, 4) where they are in the chunk before, or None.
        last_boxes: in the chunk after, or None.
    """

    tubes: torch.Tensor
    scores: TubeScores
    boxes: torch.Tensor | None
    first_boxes: torch.Tensor | None
    last_boxes: torch.Tensor | None


class TubeCascade(nn.ModuleList):
    """One head for each step, and what happens between them."""

    def __init__(self, config: StepConfig) -> None:
        super().__init__(TwoBranchHead(config) for _ in range(config.num_steps))
        self.config = config

    def forward(
        self,
        features: ClipFeatures,
        tubes: torch.Tensor,
        num_steps: int | None = None,
        last_frames: list[int] | None = None,
    ) -> list[StepPrediction]:
        """Let one step after another refine tubes.

        Args:
            features: of B clips.
            tubes: (B * M, T_1, 4) in pixels, clip by clip.
            num_steps: how many steps; `None` for all.
            last_frames: frames of the last step whose boxes are wanted; `None` for all.
        """
        num_steps = self.config.num_steps if num_steps is None else num_steps
        clips = clip_of_tubes(features, tubes)
        predictions: list[StepPrediction] = []
        for step in range(num_steps):
            is_last = step == num_steps - 1
            regions = self.cut(features, tubes, clips, step)
            predictions.append(self.predict(features, regions, tubes, clips, step, last_frames if is_last else None))
            if not is_last:
                tubes = self.next_tubes(predictions[-1], step)
        return predictions

    def cut(self, features: ClipFeatures, tubes: torch.Tensor, clips: torch.Tensor, step: int) -> torch.Tensor:
        """Cut the tubes of a step out of its feature frames: (N, T_s, C, P, P)."""
        return cut_tubes(features.frames[:, self.config.frames_of_step(step)], tubes, clips, self.config)

    def context_of(self, features: ClipFeatures, clips: torch.Tensor, step: int) -> torch.Tensor | None:
        """Give each tube the context (N, T_s, tail_width) of its clip in a step."""
        if features.context is None:
            return None
        return features.context[:, self.config.frames_of_step(step)].index_select(0, clips)

    def predict(
        self,
        features: ClipFeatures,
        regions: torch.Tensor,
        tubes: torch.Tensor,
        clips: torch.Tensor,
        step: int,
        frames: list[int] | None = None,
        drops: bool | None = None,
    ) -> StepPrediction:
        """Let the head of a step look at tubes and move their boxes.

        Args:
            features: of B clips.
            regions: (N, T_s, C, P, P) what was cut out of them.
            tubes: (N, T_s, 4).
            clips: (N,) the clip of each tube.
            step: from 0.
            frames: frames whose boxes are wanted; `None` for all, and where the next step sees more chunks those of
                the neighbouring chunks too.
            drops: whether dropout acts; by default in training mode.
        """
        config, length = self.config, self.config.chunk_length
        neighbors = None
        if config.learns_neighbors(step) and frames is None:
            count = tubes.shape[1]
            neighbors = list(range(length)), list(range(count - length, count))
        scores = self[step](regions, self.context_of(features, clips, step), frames, neighbors, drops)
        boxes = first = last = None
        if scores.deltas is not None:
            boxes = decode_boxes(scores.deltas, tubes if frames is None else tubes[:, frames])
        if neighbors is not None and boxes is not None:
            first = decode_boxes(scores.first_deltas, tubes[:, :length])
            last = decode_boxes(scores.last_deltas, tubes[:, -length:])
        return StepPrediction(tubes, scores, boxes, first, last)

    def next_tubes(self, prediction: StepPrediction, step: int, *, cuts_first: bool = False) -> torch.Tensor:
        """Make the tubes of the next step: longer where it sees more chunks, and inside the frame.

        Args:
            prediction: of step `step`, boxes of all frames.
            step: from 0.
            cuts_first: cut boxes at the frame before tubes become longer as well, as the official training does and
                the official answer does not; it matters where the new boxes follow from these.
        """
        config, size = self.config, self.config.frame_size
        tubes = keep_in_frame(prediction.boxes, size) if cuts_first else prediction.boxes
        if config.extends_after(step):
            if config.temporal_mode == "predict":
                tubes = extend_by_boxes(tubes, prediction.first_boxes, prediction.last_boxes)
            elif config.temporal_mode == "extrapolate":
                tubes = extend_linearly(tubes, config.chunk_length, size)
            else:
                tubes = extend_by_mean(tubes, config.chunk_length)
        return keep_in_frame(tubes, size)


def clip_of_tubes(features: ClipFeatures, tubes: torch.Tensor) -> torch.Tensor:
    """Give the clip (N,) of each of N tubes that stand clip by clip, as many of each."""
    count = len(features.frames)
    return torch.arange(count, device=tubes.device).repeat_interleave(len(tubes) // count)
