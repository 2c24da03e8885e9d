"""A few pictures without labels, and what the network says of them as training goes on, for people to look at."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ...data.arrow_columns import arrow_column
from ...modeling.ops.pseudo_labels import pseudo_labels

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure

NUM_PICTURES, NUM_MOMENTS = 10, 5


class PseudoLabelWatch:
    """Asks for the pseudo-labels of the same pictures at moments of a stage.

    Args:
        dataset: pictures without labels, `image` and `label` (the truth, or None).
        processor: makes a batch of pictures.
        num_epochs: of the stage; the moments are spread over them.
    """

    def __init__(self, dataset: "Dataset", processor: Any, num_epochs: int) -> None:
        rows = np.unique(np.linspace(0, len(dataset) - 1, NUM_PICTURES).astype(int)).tolist()
        self.pictures = dataset.select(rows)
        self.processor = processor
        self.epochs = {round(share * num_epochs) for share in np.linspace(0, 1, NUM_MOMENTS)}
        self.moments: list[dict[str, Any]] = []

    @torch.no_grad()
    def look(self, model: PreTrainedModel, epoch: int) -> None:
        """Ask the model, which is in evaluation mode, if the epoch is one of the moments and was not yet looked at."""
        if epoch not in self.epochs or any(moment["epoch"] == epoch for moment in self.moments):
            return
        config = model.config
        pixels = self.processor(list(self.pictures["image"]), return_tensors="pt")["pixel_values"]
        output = model(pixels.to(model.device))
        heads = [logits for logits in (output.conv_logits, output.transformer_logits) if logits is not None]
        labels, weights = pseudo_labels(
            heads[0],
            heads[-1],
            config.pseudo_label_source,
            config.pseudo_label_threshold,
            config.pseudo_label_temperature,
        )
        confidences = torch.stack([head.float() / config.pseudo_label_temperature for head in heads])
        best = confidences.softmax(-1).amax(0).gather(1, labels[:, None])[:, 0]
        self.moments.append(
            {"epoch": epoch, "labels": labels.tolist(), "weights": weights.tolist(), "confidences": best.tolist()}
        )

    def draw(self, class_names: Mapping[int, str]) -> "Figure":
        """Draw the pictures and what was said of them."""
        from ...visualization.pseudo_label_sheet import draw_pseudo_labels

        truth = [
            None if label is None else class_names[label] for label in arrow_column(self.pictures, "label").to_pylist()
        ]
        moments = [
            (
                f"epoch {moment['epoch']}",
                [
                    (class_names[label], confidence, weight)
                    for label, confidence, weight in zip(
                        moment["labels"], moment["confidences"], moment["weights"], strict=True
                    )
                ],
            )
            for moment in self.moments
        ]
        return draw_pseudo_labels([np.asarray(picture) for picture in self.pictures["image"]], truth, moments)
