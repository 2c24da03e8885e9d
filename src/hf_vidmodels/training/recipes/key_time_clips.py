"""Training samples of a detector that is given the boxes of people: the clips around an annotated key time, in one
random size, crop and flip, and what each person in the crop does.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2 import functional

from ...configuration.configuration_collaborative_memory import CollaborativeMemoryConfig
from ...data.excluded_rows import without_excluded
from ...processing.decoding import open_video
from ...processing.key_frame_clips import clip_times, context_times, film_span, iterate_clips
from ...processing.processing_collaborative_memory import CollaborativeMemoryVideoProcessor
from ...processing.spatial_crops import short_side_size
from ..seeding import sample_generator
from .step_augmentation import crop_boxes, mirror_boxes

if TYPE_CHECKING:
    from datasets import Dataset

READ_COLUMNS = ("video_id", "video", "timestamp", "boxes", "labels", "fps")


class KeyTimeClips(TorchDataset):
    """Clips with the people of their key time; asked for by `(epoch, index)`.

    A sample holds `pixel_values` float32 (N, T, 3, side, side), `boxes` float32 (n, 4) in pixels and `labels` float32
    (n, C). It follows from its epoch and index alone.

    Args:
        dataset: a split with the columns of action detection; excluded rows and those without people are left out.
        processor: of the model.
        config: of the model.
        seed: of the run.
        resize_scale: least and greatest short side of the frames, as a multiple of the crop's side.
        flip_probability: of a mirror.

    Raises:
        ValueError: no row is left, or the crop is no square.
    """

    def __init__(
        self,
        dataset: "Dataset",
        processor: CollaborativeMemoryVideoProcessor,
        config: CollaborativeMemoryConfig,
        seed: int,
        resize_scale: tuple[float, float],
        flip_probability: float,
    ) -> None:
        self.processor, self.config, self.seed = processor, config, seed
        self.resize_scale, self.flip_probability = resize_scale, flip_probability
        self.side = processor.crop_size.height
        if processor.crop_size.width != self.side:
            raise ValueError(f"clips are cropped to squares, but crop_size is {processor.crop_size}")
        dataset = without_excluded(dataset)
        kept = np.flatnonzero([len(boxes) for boxes in dataset["boxes"]])
        if not len(kept):
            raise ValueError("the training split has no key time with people that is not excluded")
        columns = [name for name in READ_COLUMNS if name in dataset.column_names]
        self._rows = dataset.select(kept).select_columns(columns)

    def __len__(self) -> int:
        """Return the number of key times."""
        return self._rows.num_rows

    def __getitem__(self, item: tuple[int, int]) -> dict[str, torch.Tensor]:
        """Draw one sample.

        Raises:
            FileNotFoundError, UnreadableVideoError: the video cannot be read.
        """
        epoch, index = item
        generator = sample_generator(self.seed, epoch, index)
        row = self._rows[index]
        frames = self._frames(row)
        shape = short_side_size(*frames.shape[-2:], round(self.side * generator.uniform(*self.resize_scale)))
        top, left = (int(generator.integers(length - self.side + 1)) for length in shape)
        height, width = shape
        frames = functional.crop(functional.resize(frames, list(shape)), top, left, self.side, self.side)
        crop = np.array([left, top, left + self.side, top + self.side]) / [width, height, width, height]
        boxes, kept = crop_boxes(np.reshape(row["boxes"], (-1, 1, 4)), crop)
        if generator.random() < self.flip_probability:
            frames, boxes = functional.horizontal_flip(frames), mirror_boxes(boxes)
        labels = torch.zeros(len(kept), self.config.num_labels)
        for person, place in enumerate(kept.tolist()):
            labels[person, row["labels"][place]] = 1
        frames = functional.to_dtype(frames, torch.float32, scale=True)
        frames = functional.normalize(frames, list(self.processor.image_mean), list(self.processor.image_std))
        return {
            "pixel_values": frames.unflatten(0, (self.config.num_clips, -1)),
            "boxes": torch.from_numpy((boxes[:, 0] * self.side).astype(np.float32)),
            "labels": labels,
        }

    def _frames(self, row: dict[str, Any]) -> torch.Tensor:
        """Decode the clips of a key time: uint8 (N * T, 3, H, W)."""
        config, video = self.config, open_video(row["video"])
        key, fps = np.array([row["timestamp"]]), row.get("fps")
        around = context_times(key, config.num_clips, config.center, config.context_seconds, film_span(video, fps))[0]
        order = np.argsort(around, kind="stable")
        rate = self.processor.target_fps / self.processor.sampling_rate
        times = clip_times(around[order], self.processor.num_frames, rate)
        clips = list(iterate_clips(video, times, lambda frames: frames, fps))
        return torch.cat([clips[place] for place in np.argsort(order)])

    def name(self, index: int) -> str:
        """The video and key time of a sample."""
        row = self._rows[index]
        return f"{row['video_id']} at {row['timestamp']:g} s"


def collate_boxes(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Make a batch: clips are stacked, and the boxes of all key times joined, each behind its number: (K, 5)."""
    counts = torch.tensor([len(sample["boxes"]) for sample in samples])
    numbers = torch.arange(len(samples)).repeat_interleave(counts)[:, None]
    boxes = torch.cat([sample["boxes"] for sample in samples])
    return {
        "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
        "boxes": torch.cat([numbers.to(boxes), boxes], dim=1),
        "labels": torch.cat([sample["labels"] for sample in samples]),
    }
