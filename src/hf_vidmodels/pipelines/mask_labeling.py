"""The transformers pipeline for mask labelling: pictures and boxes of their objects in, a mask for each box out."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import Pipeline, PreTrainedModel

from ..modeling.modeling_base import refuse_random_weights


class MaskLabelingPipeline(Pipeline):
    """Makes the masks of objects from their boxes.

    Args:
        model: a model with `mask_probabilities`, for example `MalForMaskLabeling`.
        kwargs: what `transformers.Pipeline` takes (`image_processor`, `device`, ...), and `network`, `flip`, `scales`,
            `mask_thresholds`, `clip_to_box`, `encode_rle` and `crops_per_batch` as defaults of the calls.

    Raises:
        ValueError: when the model makes no masks from boxes, or its checkpoint lacked weights.

    Example:
        >>> label = pipeline("mask-labeling", model="org/mal-vit-mae-base")
        >>> label("street.jpg", boxes=[[20, 31.5, 180, 240]])
        [{'score': 0.93, 'box': {'xmin': 20, 'ymin': 32, 'xmax': 180, 'ymax': 240}, 'area': 21043, 'mask': array(...)}]
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: PreTrainedModel, **kwargs: Any) -> None:
        if not hasattr(model, "mask_probabilities"):
            raise ValueError(
                f"{type(model).__name__} makes no masks from boxes; give a model such as MalForMaskLabeling"
            )
        refuse_random_weights(getattr(model, "random_weights", ()), model.name_or_path or type(model).__name__)
        super().__init__(model, **kwargs)

    def _sanitize_parameters(
        self,
        boxes: Sequence[Sequence[float]] | None = None,
        network: str | None = None,
        flip: bool | None = None,
        scales: Sequence[float] | None = None,
        crops_per_batch: int | None = None,
        mask_thresholds: Sequence[float] | None = None,
        clip_to_box: bool | None = None,
        encode_rle: bool | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        forward = {"network": network, "flip": flip, "scales": scales, "crops_per_batch": crops_per_batch}
        masks = {"mask_thresholds": mask_thresholds, "clip_to_box": clip_to_box, "encode_rle": encode_rle}
        return (
            {} if boxes is None else {"boxes": boxes},
            *({name: value for name, value in part.items() if value is not None} for part in (forward, masks)),
        )

    def __call__(self, inputs: Any, **kwargs: Any) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Label one picture, or each of a list.

        Args:
            inputs: a picture (path, bytes, PIL image, array) with `boxes` beside it, or a dict of `image` and `boxes`,
                or a list of such dicts.
            boxes: (n, 4) xyxy in pixels, of the one picture.
            network: see `MalForMaskLabeling.mask_probabilities`; so are `flip` and `scales`.
            crops_per_batch: crops in one forward pass.
            mask_thresholds: see `MalImageProcessor.paste_masks`; so is `clip_to_box`.
            encode_rle: give `segmentation` (compressed RLE) instead of `mask`.

        Returns:
            Of each picture one dict for each box, in their order: `score` (mean probability inside the mask), `box`
            (`xmin`, `ymin`, `xmax`, `ymax` in whole pixels), `area` (pixels of the mask), `mask` (bool array (H, W)).

        Raises:
            ValueError: without boxes, or for boxes that do not fit, with index and values.
        """
        return super().__call__(inputs, **kwargs)

    def preprocess(self, inputs: Any, boxes: Sequence[Sequence[float]] | None = None) -> dict[str, Any]:
        """Cut the crops of one picture."""
        picture = inputs
        if isinstance(inputs, Mapping):
            picture, boxes = inputs.get("image"), inputs.get("boxes", boxes)
        if picture is None or boxes is None:
            raise ValueError(
                "mask labelling needs a picture and its boxes: label(picture, boxes=[[x0, y0, x1, y1], ...]) or "
                "label([{'image': picture, 'boxes': [...]}, ...])"
            )
        return dict(self.image_processor(picture, boxes))

    def _forward(
        self,
        inputs: dict[str, Any],
        network: str | None = None,
        flip: bool | None = None,
        scales: Sequence[float] = (1.0,),
        crops_per_batch: int = 8,
    ) -> dict[str, Any]:
        parts = [
            self.model.mask_probabilities(pixel_values, boxes, box_mask, network=network, flip=flip, scales=scales)
            for pixel_values, boxes, box_mask in zip(
                *(inputs[name].split(crops_per_batch) for name in ("pixel_values", "boxes", "box_mask")), strict=True
            )
            if len(boxes)
        ]
        side = inputs["pixel_values"].shape[-1]
        probabilities = torch.cat(parts) if parts else torch.zeros(0, side, side)
        kept = ("boxes", "crop_boxes", "image_indices", "image_sizes")
        return {"probabilities": probabilities, **{name: inputs[name] for name in kept}}

    def postprocess(self, outputs: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        """Paste the masks of one picture and give a dict for each box."""
        found = self.image_processor.post_process_masks(outputs["probabilities"], outputs, **options)[0]
        masks = (
            {"segmentation": found["segmentation"]} if "segmentation" in found else {"mask": found["masks"].numpy()}
        )
        return [
            {
                "score": float(found["scores"][row]),
                "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), map(round, box), strict=True)),
                "area": int(found["areas"][row]),
                **{name: values[row] for name, values in masks.items()},
            }
            for row, box in enumerate(found["boxes"].tolist())
        ]
