"""What the parts of a Cross-X network see, as a sheet of evaluated pictures beside their nearest training pictures."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..configuration.configuration_cross_x import ULTIMATE
from ..modeling.modeling_cross_x import CrossXForImageClassification
from ..visualization.part_sheet import PartRow, PartView, draw_part_sheet

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure

PARTS_STEM = "parts"
NUM_PICTURES, NUM_NEAR = 8, 3
# Neighbours are looked for among at most so many training pictures from all over the split.
MOST_TRAINING_PICTURES = 512
BATCH_SIZE = 32


@torch.no_grad()
def draw_parts_of(
    model: CrossXForImageClassification,
    processor: Any,
    pictures: "Dataset",
    training_pictures: "Dataset",
    title: str,
) -> "Figure":
    """Draw pictures from all over a split, what each part says of them, and its nearest training pictures.

    Nearest is by the cosine of the part's features of the last stage, which C3S compares too.

    Args:
        model: of several parts, in evaluation mode.
        processor: the model's.
        pictures: a split with the columns `image` and `label`.
        training_pictures: the same of `train`.
        title: heading.

    Raises:
        ValueError: a model of one part.
    """
    if not model.config.has_parts:
        raise ValueError("this model has num_parts=1, so that there is no part to draw")
    names = pictures.features["label"].names
    near_rows = _spread(len(training_pictures), MOST_TRAINING_PICTURES)
    near = torch.cat(
        [
            _directions(model(**batch, output_part_features=True))
            for batch in _batches(model, processor, training_pictures, near_rows)
        ]
    )
    rows = []
    for row in _spread(len(pictures), NUM_PICTURES):
        (batch,) = _batches(model, processor, pictures, [row])
        output = model(**batch, output_part_features=True, output_part_maps=True)
        answer = output.logits.argmax(-1)
        evidence = _joined(model.part_evidence(output, answer))[0]
        # (N, P) cosines with the training pictures, part by part.
        likeness = torch.einsum("npc,pc->np", near, _directions(output)[0])
        parts = []
        for part in range(model.config.num_parts):
            nearest = likeness[:, part].topk(min(NUM_NEAR, len(near_rows))).indices.tolist()
            found = [training_pictures[near_rows[place]] for place in nearest]
            neighbours = [(_pixels(one), names[one["label"]]) for one in found]
            parts.append(PartView(evidence[part].float().cpu().numpy(), neighbours))
        example = pictures[row]
        answered = model.config.id2label[int(answer)]
        rows.append(PartRow(_pixels(example), answered, names[example["label"]], parts))
    return draw_part_sheet(rows, title)


def _spread(count: int, most: int) -> list[int]:
    """Give at most so many rows from all over a split."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def _batches(
    model: CrossXForImageClassification, processor: Any, pictures: "Dataset", rows: list[int]
) -> Iterator[dict[str, torch.Tensor]]:
    for start in range(0, len(rows), BATCH_SIZE):
        images = [pictures[row]["image"].convert("RGB") for row in rows[start : start + BATCH_SIZE]]
        yield processor(images, return_tensors="pt").to(model.device, model.dtype)


def _directions(output: Any) -> torch.Tensor:
    return nn.functional.normalize(output[f"{ULTIMATE}_features"].float(), dim=-1)


def _joined(evidence: dict[str, torch.Tensor]) -> torch.Tensor:
    """Add the evidence of all heads on the grid of the finest, (B, P, h, w)."""
    size = max((values.shape[2:] for values in evidence.values()), key=lambda sides: sides.numel())
    return torch.stack(
        [
            nn.functional.interpolate(values.float(), size=size, mode="bilinear")
            * (values.shape[2:].numel() / size.numel())
            for values in evidence.values()
        ]
    ).sum(0)


def _pixels(example: dict[str, Any]) -> np.ndarray:
    return np.asarray(example["image"].convert("RGB"))
