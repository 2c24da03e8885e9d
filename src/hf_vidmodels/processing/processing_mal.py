"""The image processor of MAL: pictures and boxes to crops, and probabilities of crops back to masks of pictures."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import BatchFeature
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import ImagesKwargs

from ..configuration.configuration_mal import MalConfig
from ..modeling.ops.box_sizes import size_buckets
from ..modeling.ops.run_length_masks import encode_masks
from .base_image_processing import RgbImageProcessor, split_pictures
from .box_crops import PAD_MODES, cut_box_mask, cut_picture, extend_boxes, resize_crop, visible_part


class MalImagesKwargs(ImagesKwargs, total=False):
    """Settings of `MalImageProcessor` beyond those of every image processor; see there."""

    patch_size: int
    train_margin_rate: list[float] | tuple[float, ...]
    test_margin_rate: float
    min_train_area: float
    min_side: float
    pad_mode: str
    clip_to_box: bool
    mask_thresholds: list[float] | tuple[float, ...]
    size_bounds: list[float] | tuple[float, ...]


class MalImageProcessor(RgbImageProcessor):
    """Cuts a square crop around every box, and pastes masks of crops back into the picture.

    Args:
        crop_size: side S of the crops, a multiple of `patch_size`.
        patch_size: of the model.
        train_margin_rate: least and greatest total extension of a box in training, in half sides.
        test_margin_rate: total extension at test, in half sides; opposite sides get half of it each.
        min_train_area: boxes up to this area (in square pixels) are not trained on.
        min_side: boxes with a side up to this many pixels are neither trained on nor labelled.
        pad_mode: what a crop shows beyond the picture: the picture again (`"wrap"`) or its edge (`"edge"`).
        clip_to_box: cut masks to the pixels of their box; a mask may otherwise reach about one pixel beyond.
        mask_thresholds: probability above which a pixel belongs to the mask of a small, medium and large box, or one
            for all.
        size_bounds: greatest area of a small and of a medium box.
        resample: Pillow's filter for the crops.
        image_mean: per channel, of values in [0, 1].
        image_std: per channel.

    Raises:
        ValueError: when the crop is not square or no multiple of the patch, or settings are out of range.

    Example:
        >>> processor = AutoImageProcessor.from_pretrained("org/mal-vit-mae-base")
        >>> crops = processor("street.jpg", [[20.0, 31.5, 180.0, 240.0]])
        >>> probabilities = model.mask_probabilities(crops["pixel_values"], crops["boxes"], crops["box_mask"])
        >>> processor.post_process_masks(probabilities, crops)[0]["masks"]   # (1, H, W) bool
    """

    model_input_names = ["pixel_values", "boxes", "box_mask"]
    valid_kwargs = MalImagesKwargs
    resample = PILImageResampling.BICUBIC
    crop_size = {"height": 512, "width": 512}
    patch_size = 16
    train_margin_rate = (0.0, 1.2)
    test_margin_rate = 0.6
    min_train_area = 2048
    min_side = 2
    pad_mode = "wrap"
    clip_to_box = False
    mask_thresholds = (0.1, 0.1, 0.1)
    size_bounds = (1024, 9216)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("train_margin_rate", "mask_thresholds", "size_bounds"):
            setattr(self, name, list(getattr(self, name)))
        height, width = self.crop_size.height, self.crop_size.width
        if height is None or height != width or height % self.patch_size or height <= 0:
            raise ValueError(f"crop size must be square and a multiple of {self.patch_size}, got {height} x {width}")
        if len(self.train_margin_rate) != 2 or not 0 <= self.train_margin_rate[0] <= self.train_margin_rate[1]:
            raise ValueError(
                f"train_margin_rate must be two margins, not negative and rising, got {self.train_margin_rate}"
            )
        if self.test_margin_rate < 0:
            raise ValueError(f"test_margin_rate must not be negative, got {self.test_margin_rate}")
        if self.pad_mode not in PAD_MODES:
            raise ValueError(f"pad_mode must be one of {', '.join(map(repr, PAD_MODES))}, got {self.pad_mode!r}")
        if len(self.mask_thresholds) not in (1, 3):
            raise ValueError(
                f"mask_thresholds must be one number or three (small, medium, large boxes), got {self.mask_thresholds}"
            )

    @classmethod
    def from_config(cls, config: MalConfig) -> "MalImageProcessor":
        """Make the processor that fits a model's configuration."""
        return cls(
            crop_size={"height": config.image_size, "width": config.image_size},
            patch_size=config.encoder_config.patch_size,
            mask_thresholds=list(config.mask_thresholds),
            size_bounds=list(config.size_bounds),
            train_margin_rate=list(config.train_margin_rate),
            test_margin_rate=config.test_margin_rate,
        )

    @property
    def side(self) -> int:
        """Side of the crops in pixels."""
        return self.crop_size.height

    def preprocess(self, images: Any, boxes: Any = None, *, return_tensors: str | None = "pt") -> BatchFeature:
        """Cut a crop around every box of every picture; each picture is decoded once.

        Args:
            images: one or a list of what `read_picture` takes. Pictures are not turned by their EXIF data: boxes
                refer to the pixels as stored.
            boxes: for one picture (n, 4) xyxy in its pixels, for a list of pictures a list of such. Boxes are cut at
                the edges of the picture. None: one box around each whole picture.
            return_tensors: `"pt"`, `"np"` or None.

        Returns:
            `pixel_values` (N, 3, S, S) float32 and `box_mask` (N, 1, S, S) float32 (1 inside the box) of the crops of
            all pictures in order; `boxes` (N, 4) float32 xyxy; `crop_boxes` (N, 4) int64 what each crop covers, which
            may leave the picture; `image_indices` (N,) int64 the picture of each crop; `image_sizes` (P, 2) int64
            height and width of each picture.

        Raises:
            FileNotFoundError: a picture is missing.
            ValueError: no pictures, an unreadable one, or boxes that do not fit, with their index and values.
        """
        pictures, boxes = _as_lists(images, boxes)
        crops, masks, cut_boxes, crop_boxes, indices, sizes = [], [], [], [], [], []
        for index, source in enumerate(pictures):
            picture = self.read(source)
            size = picture.shape[:2]
            of_picture = check_boxes([[0, 0, size[1], size[0]]] if boxes is None else boxes[index], size, index)
            extended = extend_boxes(of_picture, 0.5 * self.test_margin_rate)
            for box, extended_box in zip(of_picture, extended, strict=True):
                crops.append(self.cut(picture, extended_box))
                masks.append(cut_box_mask(box, size, extended_box, self.side, self.resample))
            cut_boxes.append(of_picture)
            crop_boxes.append(extended)
            indices += [index] * len(of_picture)
            sizes.append(size)
        side = self.side
        pixels = np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8)
        masks = np.stack(masks)[:, None] if masks else np.zeros((0, 1, side, side), np.uint8)
        data = {
            "pixel_values": self.normalize_crops(torch.from_numpy(pixels)),
            "box_mask": torch.from_numpy(masks).float(),
            "boxes": np.concatenate(cut_boxes),
            "crop_boxes": np.concatenate(crop_boxes),
            "image_indices": np.array(indices, dtype=np.int64),
            "image_sizes": np.array(sizes, dtype=np.int64),
        }
        return BatchFeature(data, tensor_type=return_tensors)

    def cut(self, picture: np.ndarray, extended_box: np.ndarray) -> np.ndarray:
        """Give the (S, S, 3) uint8 crop of a (H, W, 3) uint8 picture that an extended box covers."""
        return resize_crop(cut_picture(picture, extended_box, self.pad_mode), self.side, self.resample)

    def normalize_crops(self, crops: torch.Tensor) -> torch.Tensor:
        """Give (B, 3, S, S) float32 pixel values of (B, S, S, 3) uint8 crops, on their device."""
        mean, std = (crops.new_tensor(values, dtype=torch.float32) for values in (self.image_mean, self.image_std))
        values = crops.permute(0, 3, 1, 2).float().contiguous().div_(255)
        return values.sub_(mean[:, None, None]).div_(std[:, None, None])

    def post_process_masks(
        self,
        probabilities: torch.Tensor,
        crops: Mapping[str, Any],
        *,
        mask_thresholds: Sequence[float] | None = None,
        clip_to_box: bool | None = None,
        encode_rle: bool = False,
    ) -> list[dict[str, Any]]:
        """Paste the masks of crops into their pictures.

        Args:
            probabilities: (N, S, S), what `MalForMaskLabeling.mask_probabilities` gave for the crops.
            crops: what `preprocess` gave: `boxes`, `crop_boxes`, `image_indices` and `image_sizes` are read.
            mask_thresholds: see `paste_masks`.
            clip_to_box: see `paste_masks`.
            encode_rle: see `paste_masks`.

        Returns:
            Per picture what `paste_masks` gives.

        Raises:
            ValueError: when there is not one probability map for each crop.
        """
        if len(probabilities) != len(crops["boxes"]):
            raise ValueError(
                f"probabilities must hold one map for each of {len(crops['boxes'])} crops, got {len(probabilities)}"
            )
        indices = torch.as_tensor(crops["image_indices"])
        results = []
        for index, size in enumerate(torch.as_tensor(crops["image_sizes"]).tolist()):
            rows = (indices == index).nonzero()[:, 0]
            results.append(
                self.paste_masks(
                    probabilities[rows.to(probabilities.device)],
                    torch.as_tensor(crops["boxes"])[rows],
                    torch.as_tensor(crops["crop_boxes"])[rows],
                    tuple(size),
                    mask_thresholds=mask_thresholds,
                    clip_to_box=clip_to_box,
                    encode_rle=encode_rle,
                )
            )
        return results

    def paste_masks(
        self,
        probabilities: torch.Tensor,
        boxes: torch.Tensor,
        crop_boxes: torch.Tensor,
        image_size: tuple[int, int],
        *,
        mask_thresholds: Sequence[float] | None = None,
        clip_to_box: bool | None = None,
        encode_rle: bool = False,
    ) -> dict[str, Any]:
        """Paste the masks of one picture's crops into it.

        Args:
            probabilities: (n, S, S) in [0, 1].
            boxes: (n, 4) xyxy.
            crop_boxes: (n, 4) what the crops cover.
            image_size: (height, width) of the picture.
            mask_thresholds: probability above which a pixel is in the mask; None = those of the processor.
            clip_to_box: cut masks to their boxes; None = as the processor says.
            encode_rle: give masks as compressed RLE instead of arrays.

        Returns:
            `masks` (n, H, W) bool, or with `encode_rle` `segmentation`, a list of {"size": [H, W], "counts": str};
            `scores` (n,) float32, the mean probability inside the mask (0 for an empty mask); `boxes` (n, 4) float32
            xyxy; `areas` (n,) int64 pixels of the mask; `box_areas` (n,) float32.
        """
        clip_to_box = self.clip_to_box if clip_to_box is None else clip_to_box
        boxes = torch.as_tensor(boxes, dtype=torch.float32)
        box_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        thresholds = self._thresholds(box_areas, mask_thresholds)
        masks = np.zeros((len(boxes), *image_size), dtype=bool)
        scores = np.zeros(len(boxes), dtype=np.float32)
        probabilities = probabilities.float().cpu()
        for row, extended_box in enumerate(torch.as_tensor(crop_boxes).tolist()):
            in_picture, in_crop = visible_part(extended_box, image_size)
            pasted = _resize_map(probabilities[row], extended_box)[in_crop]
            inside = pasted > thresholds[row]
            if clip_to_box:
                inside = inside & _box_pixels(boxes[row], in_picture)
            masks[(row, *in_picture)] = inside
            if inside.any():
                scores[row] = pasted[inside].mean()
        result: dict[str, Any] = (
            {"segmentation": encode_masks(masks)} if encode_rle else {"masks": torch.from_numpy(masks)}
        )
        return result | {
            "scores": torch.from_numpy(scores),
            "boxes": boxes,
            "areas": torch.from_numpy(masks.sum((1, 2), dtype=np.int64)),
            "box_areas": box_areas,
        }

    def _thresholds(self, box_areas: torch.Tensor, mask_thresholds: Sequence[float] | None) -> np.ndarray:
        """Give the (n,) float32 threshold of each box by its size."""
        thresholds = list(self.mask_thresholds if mask_thresholds is None else mask_thresholds)
        if len(thresholds) not in (1, 3):
            raise ValueError(
                f"mask_thresholds must be one number or three (small, medium, large boxes), got {thresholds}"
            )
        thresholds = np.array(thresholds * 3 if len(thresholds) == 1 else thresholds, dtype=np.float32)
        return thresholds[size_buckets(box_areas, self.size_bounds).numpy()]


def check_boxes(boxes: Any, picture_size: tuple[int, int], picture_index: int = 0) -> np.ndarray:
    """Check the boxes of one picture and cut them at its edges.

    Args:
        boxes: (n, 4) xyxy in pixels.
        picture_size: (height, width).
        picture_index: for messages.

    Returns:
        (n, 4) float32.

    Raises:
        ValueError: for another shape, values that are no numbers, sides that are not positive, or a box outside the
            picture; with index and values.
    """
    try:
        boxes = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(
            f"boxes of picture {picture_index} must be rows of four numbers (x0, y0, x1, y1), of this picture alone, "
            f"got {reprlib.repr(boxes)}"
        ) from None
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes of picture {picture_index} must have shape (n, 4), got {boxes.shape}")
    height, width = picture_size
    for index, (left, top, right, bottom) in enumerate(boxes.tolist()):
        name = f"box {index} of picture {picture_index} ({left:g}, {top:g}, {right:g}, {bottom:g})"
        if not np.isfinite([left, top, right, bottom]).all():
            raise ValueError(f"{name} must hold finite numbers")
        if left >= right or top >= bottom:
            raise ValueError(f"{name} must be (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            raise ValueError(f"{name} lies outside the picture, which is {width} x {height} pixels")
    return boxes.clip(0, np.array([width, height, width, height], dtype=np.float32))


def _as_lists(images: Any, boxes: Any) -> tuple[list[Any], list[Any] | None]:
    """Give a list of pictures and one of their boxes, of whatever `preprocess` takes."""
    pictures = split_pictures(images)
    if boxes is None:
        return pictures, None
    if not isinstance(images, list | tuple):
        boxes = [boxes] if len(pictures) == 1 else boxes
    if len(boxes) != len(pictures):
        raise ValueError(
            f"boxes must be a list with the (n, 4) boxes of each of {len(pictures)} pictures, got {len(boxes)} entries"
        )
    return pictures, list(boxes)


def _resize_map(probabilities: torch.Tensor, extended_box: Sequence[int]) -> np.ndarray:
    """Resize (S, S) probabilities bilinearly to what an extended box covers, (h, w)."""
    left, top, right, bottom = extended_box
    size = (bottom - top, right - left)
    return nn.functional.interpolate(probabilities[None, None], size, mode="bilinear", align_corners=False)[
        0, 0
    ].numpy()


def _box_pixels(box: torch.Tensor, in_picture: tuple[slice, slice]) -> np.ndarray:
    """Tell which pixels of a part of the picture are those of the box, floor to floor, both included."""
    left, top, right, bottom = (int(side) for side in box.tolist())
    rows, columns = (np.arange(part.start, part.stop) for part in in_picture)
    return ((rows >= top) & (rows <= bottom))[:, None] & (columns >= left) & (columns <= right)
