"""The training samples of MAL: one per annotated box, a random crop around it in two views.

Numbers are those of the official code (commit 0ab9be4). Student and teacher see the same crop, perhaps mirrored; the
student's is also changed in colour and sharpness. All draws of a sample follow from (seed, epoch, sample).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2 import functional as tv

from ...processing.box_crops import cut_box_mask, draw_margins, extend_boxes
from ...processing.processing_mal import MalImageProcessor, check_boxes
from ..seeding import sample_generator

if TYPE_CHECKING:
    from datasets import Dataset

MAX_TRAIN_AREA = 1e10
FLIP_PROBABILITY = 0.5
JITTER_PROBABILITY = 0.5
GREY_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
# Greatest relative change of brightness, contrast and saturation, and of the hue in turns.
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1
# Radii of the blur in pixels of a crop of this side; on other crops in proportion.
BLUR_RADII, BLUR_SIDE = (0.1, 2.0), 512


@dataclass(frozen=True)
class BoxTable:
    """The boxes of a split that are trained on.

    Attributes:
        rows: (N,) int64 picture of each box, its row in the data set.
        boxes: (N, 4) float32 xyxy in pixels.
        ids: (N,) annotation ids.
        dropped: how many boxes each rule left out.
    """

    rows: np.ndarray
    boxes: np.ndarray
    ids: np.ndarray
    dropped: dict[str, int]


def select_boxes(dataset: "Dataset", *, min_area: float, min_side: float, skip_crowds: bool) -> BoxTable:
    """Choose the boxes of a data set for mask labelling that are trained on.

    Args:
        dataset: with the column `objects`.
        min_area: boxes up to this many square pixels are left out.
        min_side: boxes with a side up to this many pixels are left out.
        skip_crowds: leave out annotations of groups.

    Raises:
        ValueError: when no box is left; says how many each rule left out.
    """
    objects = dataset.select_columns(["objects"]).with_format("arrow")[:]["objects"].combine_chunks()
    counts = objects.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(counts)), counts)
    fields = objects.flatten()
    boxes = np.asarray(fields.field("bbox").flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, 4)
    crowds = fields.field("iscrowd").fill_null(0).to_numpy(zero_copy_only=False).astype(bool)
    sides, areas = boxes[:, 2:], boxes[:, 2] * boxes[:, 3]
    rules = {
        f"a side of at most {min_side:g} pixels": (sides <= min_side).any(1),
        f"an area of at most {min_area:g} square pixels": areas <= min_area,
        f"an area of at least {MAX_TRAIN_AREA:g} square pixels": areas >= MAX_TRAIN_AREA,
        "a group instead of one object (iscrowd)": crowds if skip_crowds else np.zeros(len(crowds), bool),
    }
    kept, dropped = np.ones(len(boxes), bool), {}
    for rule, broken in rules.items():
        if (kept & broken).any():
            dropped[rule] = int((kept & broken).sum())
        kept &= ~broken
    if not kept.any():
        reasons = "; ".join(f"{count} have {rule}" for rule, count in dropped.items()) or "there are no annotations"
        raise ValueError(f"none of the {len(boxes)} boxes of the training split can be trained on: {reasons}")
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + sides], axis=1)
    ids = fields.field("id").to_numpy(zero_copy_only=False)
    return BoxTable(rows[kept], corners[kept], ids[kept], dropped)


class MalTrainingCrops(TorchDataset):
    """Random crops around boxes; asked for by `(epoch, index)`.

    A sample holds `student_crop` and `teacher_crop` (S, S, 3) uint8, `box_mask` (1, S, S) uint8 and `box` (4,) xyxy.

    Args:
        dataset: with the column `image`.
        table: the boxes.
        processor: cuts the crops.
        seed: of the run.
        augment: change colour and sharpness of the student's view.
    """

    def __init__(
        self, dataset: "Dataset", table: BoxTable, processor: MalImageProcessor, seed: int, augment: bool = True
    ) -> None:
        self.pictures = dataset.select_columns(["image"])
        self.table = table
        self.processor = processor
        self.seed = seed
        self.augment = augment

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.table.rows)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        """Draw one sample.

        Raises:
            ValueError: for a picture that cannot be read or a box outside of it, naming the annotation.
        """
        epoch, index = item
        generator = sample_generator(self.seed, epoch, index)
        box, picture = self._read(index)
        extended = extend_boxes(box[None], draw_margins(generator, self.processor.train_margin_rate))[0]
        crop = self.processor.cut(picture, extended)
        mask = cut_box_mask(
            box,
            picture.shape[:2],
            extended,
            self.processor.side,
            self.processor.resample,
            pad_mode=self.processor.pad_mode,
        )
        if generator.random() > FLIP_PROBABILITY:
            crop, mask = crop[:, ::-1], mask[:, ::-1]
        student = change_view(Image.fromarray(np.ascontiguousarray(crop)), generator) if self.augment else crop
        return {
            "student_crop": np.array(student),
            "teacher_crop": np.array(crop),
            "box_mask": np.array(mask[None]),
            "box": box,
        }

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        name, row = self.table.ids[index], int(self.table.rows[index])
        try:
            picture = self.processor.read(self.pictures[row]["image"])
            box = check_boxes(self.table.boxes[index][None], picture.shape[:2], row)[0]
        except (OSError, ValueError) as error:
            raise ValueError(f"annotation {name} cannot be trained on: {error}") from error
        return box, picture


def change_view(crop: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Change colours, take them away, and blur, each with its probability."""
    if generator.random() < JITTER_PROBABILITY:
        crop = _jitter(crop, generator)
    if generator.random() < GREY_PROBABILITY:
        crop = crop.convert("L").convert("RGB")
    if generator.random() < BLUR_PROBABILITY:
        radius = generator.uniform(*BLUR_RADII) * crop.width / BLUR_SIDE
        crop = crop.filter(ImageFilter.GaussianBlur(radius))
    return crop


def _jitter(crop: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Change brightness, contrast, saturation and hue, in a random order."""
    changes: list[tuple[Callable[[Image.Image, float], Image.Image], float, float]] = [
        (tv.adjust_brightness, 1, BRIGHTNESS),
        (tv.adjust_contrast, 1, CONTRAST),
        (tv.adjust_saturation, 1, SATURATION),
        (tv.adjust_hue, 0, HUE),
    ]
    for change in generator.permutation(len(changes)):
        apply, middle, width = changes[change]
        crop = apply(crop, float(generator.uniform(middle - width, middle + width)))
    return crop
