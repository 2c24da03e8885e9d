"""Map-style data sets over a corpus of task video-classification: random training clips, and test views.

Videos are decoded when an item is asked for, in whatever process that happens, and no further than the item needs.
A video that is missing or cannot be decoded never stops a worker: the item names it, so that the main process can
count (`UnreadableVideos`). In training another video takes its place, drawn from the item's own generator; in
evaluation the item says that it holds nothing.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import default_collate

from ..processing.decoding import UnreadableVideoError, frames_shown_at, open_video, read_frames
from ..processing.frame_sampling import FrameSampling
from .arrow_columns import arrow_column

if TYPE_CHECKING:
    from datasets import Dataset

    from ..processing.base_video_processing import VideoViewsProcessor

# So many videos are tried for one item; more in a row are no accident.
MAX_ATTEMPTS = 10
_UNREADABLE = (UnreadableVideoError, FileNotFoundError)
ClipTransform = Callable[[torch.Tensor, np.random.Generator], torch.Tensor]


class VideoClips(TorchDataset):
    """Random clips for training; items are asked for by `(epoch, index)`, one of several by `(epoch, index, clip)`.

    An item holds `pixel_values` (uint8 (T, 3, H, W) of the video's size, or what `transform` makes of it, as in
    float32 (copies, T, 3, h, w); with `num_clips` one more axis of N clips stands before T), `labels`
    (int64 class id, or float32 (num_classes,) multi-hot where videos have several) and `unreadable`, the names of
    videos that were tried in vain. An item follows from its epoch and index alone.

    Args:
        dataset: a split with the columns `video` and `label`.
        sampling: rule that chooses frames.
        generator_for: gives the generator of `(epoch, index)`, such as `partial(sample_generator, seed)`.
        transform: augmentation: takes a clip and the item's generator, gives a clip or copies of it. Several clips of
            a video go through it as one, so that all have the same crop and flip.
        mirrored: by class id the class of a mirrored video, None for classes that are not mirrored; for videos of one
            class.
        mirror_probability: of mirroring a clip whose class has a mirrored one, before `transform`.
        num_clips: clips of each video, one from each of so many parts of it; None for one clip without an axis.
        with_labels: whether items have `labels`; without, the split needs no column `label`.

    Raises:
        ValueError: a video has no label.
    """

    def __init__(
        self,
        dataset: "Dataset",
        sampling: FrameSampling,
        generator_for: Callable[[int, int], np.random.Generator],
        transform: ClipTransform | None = None,
        mirrored: Sequence[int | None] = (),
        mirror_probability: float = 0.0,
        num_clips: int | None = None,
        with_labels: bool = True,
    ) -> None:
        self._rows = _Videos(dataset)
        if with_labels:
            self._rows.require_labels()
        self.with_labels = with_labels
        self.mirrored, self.mirror_probability = mirrored, mirror_probability
        self.num_clips = num_clips
        self.sampling = sampling
        self.generator_for = generator_for
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self._rows)

    def __getitem__(self, position: tuple[int, ...]) -> dict[str, Any]:
        """Draw the clips of one video.

        The third number chooses one of `num_clips`: it is what stands there among all of them, but alone (N is 1) and
        without the others being decoded, and the item has its number as `clip`.

        Raises:
            UnreadableVideoError: `MAX_ATTEMPTS` videos in a row cannot be read.
        """
        epoch, index, *chosen = position
        generator = self.generator_for(epoch, index)
        unreadable: list[str] = []
        while True:
            try:
                clip = self._draw_clip(index, generator, *chosen)
                break
            except _UNREADABLE as error:
                unreadable.append(self.name(index))
                if len(unreadable) == MAX_ATTEMPTS:
                    raise UnreadableVideoError(
                        f"{MAX_ATTEMPTS} videos in a row cannot be read; the last one: {error}"
                    ) from error
                index = int(generator.integers(len(self)))
        label = self._rows.label(index) if self.with_labels else None
        other = self.mirrored[int(label)] if self.mirrored else None
        if other is not None and generator.random() < self.mirror_probability:
            clip, label = clip.flip(-1), torch.tensor(other)
        if self.transform is not None:
            clip = self.transform(clip, generator)
        if self.num_clips is not None:
            clip = clip.unflatten(-4, (1 if chosen else self.num_clips, -1))
        item = {"pixel_values": clip, "unreadable": unreadable}
        item |= {"labels": label} if self.with_labels else {}
        return item | {"clip": chosen[0]} if chosen else item

    def name(self, index: int) -> str:
        """The path of a video, or its number where it has none."""
        return self._rows.name(index)

    def _draw_clip(self, index: int, generator: np.random.Generator, chosen: int | None = None) -> torch.Tensor:
        video = open_video(self._rows.video(index))
        if self.num_clips is None:
            positions = self.sampling.random_clip(video.num_frames, video.frame_rate, generator)
        else:
            positions = self.sampling.random_clips(video.num_frames, video.frame_rate, self.num_clips, generator)
            positions = positions if chosen is None else positions[chosen]
        frames = read_frames(video, frames_shown_at(video, positions.reshape(-1)))
        return torch.from_numpy(frames).permute(0, 3, 1, 2)


class VideoViews(TorchDataset):
    """All test views of every video, for evaluation; items are asked for by their index.

    An item holds `pixel_values` float32 (N, T, 3, H, W), `labels` as in `VideoClips` (-1 where a video has none),
    `index` (int64), `readable` (bool) and `unreadable`, the name of the video when it is not; its pixel values are
    then zeros, which the evaluation leaves out of its metrics.

    Args:
        dataset: a split with the columns `video` and `label`.
        processor: the model's processor.
        num_views: views in time; `None` for those of the processor's test protocol.
        num_crops: crops of each; `None` for those of the processor's test protocol.

    Raises:
        ValueError: the processor gives pictures of no fixed size, or `num_views` or `num_crops` is below 1.
    """

    def __init__(
        self,
        dataset: "Dataset",
        processor: "VideoViewsProcessor",
        num_views: int | None = None,
        num_crops: int | None = None,
    ) -> None:
        self._rows = _Videos(dataset)
        self.processor = processor
        self.num_views = processor.evaluation_views if num_views is None else num_views
        self.num_crops = processor.evaluation_crops if num_crops is None else num_crops
        if min(self.num_views, self.num_crops) < 1:
            raise ValueError(
                f"num_views and num_crops must be at least 1, got {self.num_views} and {self.num_crops}; leave them "
                "out for the model's protocol"
            )
        self._shape = (self.num_views * self.num_crops, processor.num_frames, 3, *processor.picture_size)

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Prepare the views of one video."""
        unreadable = []
        try:
            views = self.processor(self._rows.video(index), num_views=self.num_views, num_crops=self.num_crops)[
                "pixel_values"
            ].view(self._shape)
        except _UNREADABLE:
            unreadable.append(self.name(index))
            views = torch.zeros(self._shape)
        return {
            "pixel_values": views,
            "labels": self._rows.label(index),
            "index": index,
            "readable": not unreadable,
            "unreadable": unreadable,
        }

    def name(self, index: int) -> str:
        """The path of a video, or its number where it has none."""
        return self._rows.name(index)


def collate_clips(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch: tensors and numbers are stacked, the names of unreadable videos joined in one list."""
    batch = default_collate([{name: value for name, value in item.items() if name != "unreadable"} for item in items])
    return {**batch, "unreadable": [name for item in items for name in item["unreadable"]]}


class _Videos:
    """The rows of a split, without decoding anything."""

    def __init__(self, dataset: "Dataset") -> None:
        self._dataset = dataset.select_columns([name for name in ("video", "label") if name in dataset.features])

    def __len__(self) -> int:
        return len(self._dataset)

    def video(self, index: int) -> Any:
        return self._dataset[index]["video"]

    def name(self, index: int) -> str:
        video = self.video(index)
        path = video.get("path") if isinstance(video, dict) else video
        return str(path) if path else f"video {index}"

    def label(self, index: int) -> torch.Tensor:
        if "label" not in self._dataset.features:
            return torch.tensor(-1)
        label = self._labels[index]
        if self._num_classes is None:
            return torch.tensor(-1 if label is None else label)
        return torch.zeros(self._num_classes).index_fill_(0, torch.tensor(label, dtype=torch.int64), 1.0)

    def require_labels(self) -> None:
        unlabelled = [index for index, label in enumerate(self._labels) if label is None or label == []]
        if unlabelled:
            raise ValueError(
                f"{len(unlabelled)} videos have no label ({self.name(unlabelled[0])} is the first); training needs "
                "one for each: leave the others out or name their class"
            )

    @cached_property
    def _labels(self) -> list[int | list[int] | None]:
        return arrow_column(self._dataset, "label").to_pylist()

    @cached_property
    def _num_classes(self) -> int | None:
        """Number of classes where a video may have several, None where it has one."""
        feature = self._dataset.features["label"]
        return None if hasattr(feature, "num_classes") else feature.feature.num_classes
