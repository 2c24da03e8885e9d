"""Training samples of STEP: the clip around an annotated key time, who is there and what each does, and for the first
phase boxes near people and away from them (numbers of the official code, 59da38a).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from ...configuration.configuration_step import StepConfig
from ...data.excluded_rows import without_excluded
from ...processing.decoding import open_video
from ...processing.key_frame_clips import clip_times, iterate_clips
from ...processing.processing_step import StepVideoProcessor
from ..seeding import sample_generator
from .step_augmentation import TubeAugmentation

if TYPE_CHECKING:
    from datasets import Dataset

JITTER_TRIES = 50
NEAR, FAR = 0.75, 0.2
NEAR_SIDES, NEAR_SHIFT = (0.8, 1.2), 0.2
FAR_SIDES, FAR_SHIFTS = ((0.3, 0.7), (1.5, 2.0)), (0.3, 1.0)
READ_COLUMNS = ("video_id", "video", "timestamp", "boxes", "labels", "actor_ids", "fps")
# Seconds by which the time of a neighbouring row may differ.
TIME_TOLERANCE = 0.02


class StepTrainingClips(TorchDataset):
    """Clips with their people; asked for by `(epoch, index)`.

    A sample holds `pixel_values` float32 (T, 3, H, W), `labels` float32 (n, C), `box_labels` float32 (n, num_chunks,
    4) in pixels, zeros where a person is not annotated in the middle of a chunk, and with `draws_proposals` also
    `proposals` float32 (m, 4) in pixels. It follows from its epoch and index alone.

    Args:
        dataset: a split with the columns of action detection; excluded rows are left out.
        processor: of the model.
        config: of the model that is trained.
        seed: of the run.
        augmentation: changes clips.
        draws_proposals: whether boxes near people and away from them are drawn.

    Raises:
        ValueError: no row is left.
    """

    def __init__(
        self,
        dataset: "Dataset",
        processor: StepVideoProcessor,
        config: StepConfig,
        seed: int,
        augmentation: TubeAugmentation,
        draws_proposals: bool = False,
    ) -> None:
        self.processor, self.config, self.seed = processor, config, seed
        self.augmentation, self.draws_proposals = augmentation, draws_proposals
        dataset = without_excluded(dataset)
        if not dataset.num_rows:
            raise ValueError("the training split has no key time that is not excluded")
        self._rows = dataset.select_columns([name for name in READ_COLUMNS if name in dataset.column_names])
        self._times = np.array(self._rows["timestamp"], dtype=np.float64)
        self._videos = list(self._rows["video_id"])
        names, numbers = np.unique(self._videos, return_inverse=True)
        groups = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
        self._rows_of = dict(zip(names.tolist(), groups, strict=True))

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
        times = clip_times(np.array([row["timestamp"]]), self.processor.num_frames, self.processor.frame_rate)
        frames = next(iterate_clips(open_video(row["video"]), times, _unchanged, row.get("fps")))
        frames, boxes, kept = self.augmentation(frames, self._boxes_over_time(index, row), generator)
        height, width = self.processor.frame_size
        labels = torch.zeros(len(kept), self.config.num_labels)
        for person, place in enumerate(kept.tolist()):
            labels[person, row["labels"][place]] = 1
        sides = np.array([width, height, width, height])
        sample = {
            "pixel_values": self.processor.prepare(frames),
            "labels": labels,
            "box_labels": torch.from_numpy((boxes * sides).astype(np.float32)),
        }
        if self.draws_proposals:
            proposals = draw_proposals(boxes[:, boxes.shape[1] // 2], self.config.negative_ratio, generator)
            sample["proposals"] = torch.from_numpy((proposals * sides).astype(np.float32))
        return sample

    def name(self, index: int) -> str:
        """The video and key time of a sample."""
        return f"{self._videos[index]} at {self._times[index]:g} s"

    def _boxes_over_time(self, index: int, row: dict[str, Any]) -> np.ndarray:
        """Give the boxes (n, num_chunks, 4) of the row's people in the middle of every chunk, zeros where unknown."""
        config = self.config
        boxes = np.zeros((len(row["boxes"]), config.num_chunks, 4))
        key = config.num_chunks // 2
        boxes[:, key] = np.reshape(row["boxes"], (-1, 4))
        actors = row.get("actor_ids")
        if actors is None:
            return boxes
        chunk_seconds = config.chunk_length * config.temporal_stride / self.processor.frame_rate
        for chunk in range(config.num_chunks):
            neighbor = self._row_at(self._videos[index], row["timestamp"] + (chunk - key) * chunk_seconds)
            if chunk == key or neighbor is None:
                continue
            places = {actor: place for place, actor in enumerate(neighbor["actor_ids"])}
            for person, actor in enumerate(actors):
                if actor is not None and actor in places:
                    boxes[person, chunk] = neighbor["boxes"][places[actor]]
        return boxes

    def _row_at(self, video: str, time: float) -> dict[str, Any] | None:
        rows = self._rows_of[video]
        near = np.abs(self._times[rows] - time)
        place = int(near.argmin())
        return self._rows[int(rows[place])] if near[place] < TIME_TOLERANCE else None


def _unchanged(frames: torch.Tensor) -> torch.Tensor:
    return frames


def draw_proposals(boxes: np.ndarray, negatives_each: int, generator: np.random.Generator) -> np.ndarray:
    """Draw a box near each person and some away from all, for a network that learns to classify boxes.

    Args:
        boxes: (n, 4) of the people, relative to the frame.
        negatives_each: boxes away from people for each person.
        generator: of the draws.

    Returns:
        (m, 4): one box for each person, the person's own where no draw is near it alone, then up to `negatives_each`
        times n others; of a frame without people one whole frame.
    """
    if not len(boxes):
        return np.array([[0.0, 0.0, 1.0, 1.0]])
    near, far = [], []
    for person, box in enumerate(boxes):
        drawn = _moved(box, NEAR_SIDES, generator.uniform(-NEAR_SHIFT, NEAR_SHIFT, (JITTER_TRIES, 2)), generator)
        overlaps = _overlaps(drawn, boxes)
        others = np.delete(overlaps, person, axis=1).max(1, initial=0)
        is_near = (overlaps[:, person] > NEAR) & (others < FAR)
        near.append(drawn[is_near.argmax()] if is_near.any() else box)
        sides = FAR_SIDES[generator.integers(2)]
        signs = generator.choice([-1, 1], (JITTER_TRIES, 2))
        drawn = _moved(box, sides, signs * generator.uniform(*FAR_SHIFTS, (JITTER_TRIES, 2)), generator)
        far += list(drawn[(_overlaps(drawn, boxes) < FAR).all(1)][:negatives_each])
    return np.array([*near, *far])


def _moved(
    box: np.ndarray, sides: tuple[float, float], shifts: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Scale a box's sides at random and shift its centre by shares of them; gives boxes (K, 4) inside the frame."""
    size = box[2:] - box[:2]
    scaled = np.minimum(size * generator.uniform(*sides, shifts.shape), 1.0)
    centres = (box[:2] + box[2:]) / 2 + shifts * size
    starts = (centres - scaled / 2).clip(0, 1 - scaled)
    return np.concatenate((starts, starts + scaled), axis=1)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    common = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    common = common.clip(0).prod(-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(-1) for one in (boxes, others)]
    return common / np.maximum(areas[0][:, None] + areas[1] - common, 1e-12)


def collate_clips_with_people(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Make a batch: people and proposals are filled up to the greatest number, at least one.

    Rows of people that fill up are zeros, those of proposals are whole frames and False in `proposal_mask` (B, M).
    """
    batch = {"pixel_values": torch.stack([sample["pixel_values"] for sample in samples])}
    for name in ("labels", "box_labels"):
        batch[name] = _filled([sample[name] for sample in samples])
    if "proposals" in samples[0]:
        proposals = [sample["proposals"] for sample in samples]
        batch["proposals"] = _filled(proposals)
        counts = torch.tensor([len(of_clip) for of_clip in proposals])
        batch["proposal_mask"] = torch.arange(batch["proposals"].shape[1]) < counts[:, None]
        height, width = batch["pixel_values"].shape[-2:]
        batch["proposals"][~batch["proposal_mask"]] = torch.tensor([0.0, 0.0, width, height])
    return batch


def _filled(parts: list[torch.Tensor]) -> torch.Tensor:
    filled = parts[0].new_zeros(len(parts), max(1, *map(len, parts)), *parts[0].shape[1:])
    for row, part in zip(filled, parts, strict=True):
        row[: len(part)] = part
    return filled
