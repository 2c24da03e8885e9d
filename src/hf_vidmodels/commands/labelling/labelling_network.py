"""The network of `hf-vidmodels label`: loaded, described, and run on portions of crops."""

import argparse
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoImageProcessor, PreTrainedModel

from ...__about__ import __version__
from ...command_line import one_line
from ...processing.processing_mal import MalImageProcessor
from ...weight_digest import digest_of_weights
from ..opened_models import open_model
from ..task_options import read_config
from .labelling_plan import LabellingPlan

SCORE_DIGITS = 6
# Fields of configurations and processors that masks do not depend on.
_WITHOUT_EFFECT = ("transformers_version", "_name_or_path", "auto_map", "architectures", "dtype", "processor_class")


@dataclass
class Portion:
    """The crops of a few pictures.

    Attributes:
        number: of the portion.
        rows: of the boxes, those of one picture together, pictures in the order of `crops`.
        crops: what the processor gave for the pictures that could be read; None for none.
        failures: why the picture of a box cannot be used, by row.
    """

    number: int
    rows: list[np.ndarray] = field(default_factory=list)
    crops: Any = None
    failures: dict[int, str] = field(default_factory=dict)


class PortionCrops(Dataset):
    """Reads the pictures of a portion, each once, and cuts the crops of its boxes."""

    def __init__(self, plan: LabellingPlan, processor: MalImageProcessor) -> None:
        self._plan, self._processor = plan, processor

    def __len__(self) -> int:
        return self._plan.num_portions

    def __getitem__(self, number: int) -> Portion:
        """Give a portion; pictures that cannot be used are noted in it."""
        portion, pictures, boxes = Portion(number), [], []
        for picture, rows in self._plan.by_picture(number):
            try:
                pictures.append(self._read(picture))
            except (ValueError, OSError) as error:
                portion.failures |= dict.fromkeys(rows.tolist(), one_line(error))
                continue
            portion.rows.append(rows)
            boxes.append(self._plan.corners(rows))
        if pictures:
            portion.crops = self._processor(pictures, boxes)
        return portion

    def _read(self, picture: int) -> np.ndarray:
        path = self._plan.paths[picture]
        pixels = self._processor.read(path)
        if pixels.shape[:2] != self._plan.size(picture):
            height, width = self._plan.size(picture)
            raise ValueError(
                f"{path} has {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width), but the annotation file "
                f"says {height} x {width}"
            )
        return pixels


class Labeler:
    """A network and the processor that fits it.

    Args:
        model: with `mask_probabilities`, in evaluation mode.
        processor: cuts crops and pastes masks.
        options: of the command line: network, flip, scales, threshold, clip_to_box, batch_size.
    """

    def __init__(self, model: PreTrainedModel, processor: MalImageProcessor, options: argparse.Namespace) -> None:
        self.model, self.processor, self.options = model, processor, options

    @torch.inference_mode()
    def label(self, portion: Portion) -> list[dict[str, Any]]:
        """Give the journal's line for each box of a portion."""
        lines = [{"row": row, "unreadable": reason} for row, reason in portion.failures.items()]
        if portion.crops is None:
            return lines
        crops, options = portion.crops, self.options
        probabilities = torch.cat(
            [
                self.model.mask_probabilities(
                    crops["pixel_values"][start : start + options.batch_size],
                    crops["boxes"][start : start + options.batch_size],
                    crops["box_mask"][start : start + options.batch_size],
                    network=options.network,
                    flip=options.flip or None,
                    scales=options.scales,
                ).cpu()
                for start in range(0, len(crops["boxes"]), options.batch_size)
            ]
        )
        found = self.processor.post_process_masks(
            probabilities,
            crops,
            mask_thresholds=options.threshold,
            clip_to_box=options.clip_to_box or None,
            encode_rle=True,
        )
        for rows, masks in zip(portion.rows, found, strict=True):
            areas, scores = masks["areas"].tolist(), masks["scores"].tolist()
            for row, rle, area, score in zip(rows.tolist(), masks["segmentation"], areas, scores, strict=True):
                lines.append({"row": row, "segmentation": rle, "area": area, "score": round(score, SCORE_DIGITS)})
        return lines


def load_labeler(arguments: argparse.Namespace, device: torch.device) -> Labeler:
    """Load the network that `--network` asks for and no other.

    Raises:
        FileNotFoundError, OSError: there is no such checkpoint.
        ValueError: it labels no masks, or lacks the network.
    """
    config = read_config(arguments.model)
    chosen = {} if arguments.network is None else {"inference_network": arguments.network}
    if not hasattr(config, "inference_network"):
        raise ValueError(f"{arguments.model} is a {config.model_type}, which makes no masks from boxes")
    model = open_model(arguments.model, device, inference_only=True, dtype=getattr(torch, arguments.dtype), **chosen)
    if Path(arguments.model).is_dir() and not (Path(arguments.model) / "preprocessor_config.json").is_file():
        processor = MalImageProcessor.from_config(model.config)
    else:
        processor = AutoImageProcessor.from_pretrained(arguments.model)
    return Labeler(model, processor, arguments)


def describe_labeler(labeler: Labeler, arguments: argparse.Namespace) -> dict[str, Any]:
    """Give everything that the masks depend on, as JSON can say it; files and networks by their SHA-256."""
    device = labeler.model.device.type
    return {
        "annotations": _digest_of_file(arguments.annotations),
        "score_boxes": None if arguments.score_boxes is None else _digest_of_file(arguments.score_boxes),
        "weights": digest_of_weights(labeler.model),
        "configuration": _digest_of_settings(labeler.model.config.to_dict()),
        "processor": _digest_of_settings(labeler.processor.to_dict()),
        "network": labeler.model.config.inference_network,
        "flip": arguments.flip or labeler.model.config.flip_test,
        "scales": arguments.scales,
        "threshold": arguments.threshold,
        "clip_to_box": arguments.clip_to_box,
        "batch_size": arguments.batch_size,
        "dtype": arguments.dtype,
        "device": device,
        "threads": arguments.threads if device == "cpu" else None,
        "skip_invalid": arguments.skip_invalid,
        "version": __version__,
    }


def _digest_of_file(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _digest_of_settings(settings: dict[str, Any]) -> str:
    kept = {name: value for name, value in settings.items() if name not in _WITHOUT_EFFECT}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()
