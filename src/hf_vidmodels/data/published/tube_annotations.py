"""The tubes of UCF101-24 and JHMDB-21: their pickled annotations converted to JSON, and that JSON read.

Pickles can run code when they are opened. They are read only by `convert_tube_annotations`, which a user starts on
purpose, and by an unpickler that makes nothing but arrays and plain values:

    python scripts/convert_tube_annotations.py UCF101v2-GT.pkl UCF101v2-GT.json

`UCF101v2-GT.pkl` has the corrected annotations, `UCF101-GT.pkl` the original ones; both have one layout: `labels`,
`train_videos` and `test_videos` (a list for each split), `nframes`, `resolution` (height, width) and `gttubes`, for
each video and class a list of arrays (n, 5) of frame (from 1), x1, y1, x2, y2 in pixels.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic_io import read_json_object, write_json
from ...output_files import refuse_inputs_as_outputs
from .wtalc import RestrictedUnpickler

FIELDS = ("labels", "train_videos", "test_videos", "nframes", "resolution", "gttubes")


@dataclass(frozen=True)
class TubeAnnotations:
    """Annotated tubes of a corpus.

    Attributes:
        labels: class names by id.
        train: names of the training videos, for each split of the corpus.
        test: names of the test videos.
        videos: by name `num_frames`, `height`, `width`, and `tubes`: of each `label`, `frames` (from 1) and `boxes`.
    """

    labels: list[str]
    train: list[list[str]]
    test: list[list[str]]
    videos: dict[str, dict[str, Any]]

    def rows_of(self, name: str, fps: float) -> list[dict[str, Any]]:
        """Give one row of action detection for each frame of a video, without the video itself.

        Args:
            name: of the video.
            fps: frames a second, for timestamps.
        """
        video = self.videos[name]
        by_frame: dict[int, list[tuple[int, dict[str, Any], list[float]]]] = {}
        for actor, tube in enumerate(video["tubes"]):
            for frame, box in zip(tube["frames"], tube["boxes"], strict=True):
                by_frame.setdefault(frame, []).append((actor, tube, box))
        scale = np.array([video["width"], video["height"]] * 2, dtype=np.float64)
        rows = []
        for frame in range(1, video["num_frames"] + 1):
            seen = by_frame.get(frame, [])
            rows.append(
                {
                    "video_id": name,
                    "timestamp": (frame - 1) / fps,
                    "boxes": [np.clip(np.array(box) / scale, 0, 1).tolist() for _, _, box in seen],
                    "labels": [[tube["label"]] for _, tube, _ in seen],
                    "keyframe": frame - 1,
                    "actor_ids": [actor for actor, _, _ in seen],
                    "starts": [(tube["frames"][0] - 1) / fps for _, tube, _ in seen],
                    "ends": [tube["frames"][-1] / fps for _, tube, _ in seen],
                }
            )
        return rows


def convert_tube_annotations(pickle_path: str | Path, json_path: str | Path) -> None:
    """Write the annotations of a pickle as JSON.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its pickle asks for anything but arrays and plain values, or has another layout; nothing is run.
    """
    pickle_path, json_path = Path(pickle_path), Path(json_path)
    refuse_inputs_as_outputs([json_path], [pickle_path])
    try:
        with pickle_path.open("rb") as file:
            content = RestrictedUnpickler(file, encoding="latin1").load()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"the pickle {pickle_path} is refused: {error}; do not use this file") from error
    missing = [name for name in FIELDS if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(f"{pickle_path} has no {missing[0]!r}; expected a dict with {', '.join(FIELDS)}")
    write_json(json_path, _as_json(content, pickle_path))


def _as_json(content: dict[str, Any], path: Path) -> dict[str, Any]:
    videos = {}
    for name, by_label in content["gttubes"].items():
        tubes = []
        for label, arrays in sorted(by_label.items()):
            for array in arrays:
                rows = np.asarray(array, dtype=np.float64)
                if rows.ndim != 2 or rows.shape[1] != 5 or (np.diff(rows[:, 0]) <= 0).any():
                    raise ValueError(
                        f"{path}: a tube of {name} must be (n, 5) with ascending frames, got {rows.shape}"
                    )
                frames, boxes = rows[:, 0].astype(int).tolist(), rows[:, 1:].tolist()
                tubes.append({"label": int(label), "frames": frames, "boxes": boxes})
        height, width = (int(side) for side in content["resolution"][name])
        videos[name] = {
            "num_frames": int(content["nframes"][name]),
            "height": height,
            "width": width,
            "tubes": tubes,
        }
    lists = {name: [list(split) for split in content[f"{name}_videos"]] for name in ("train", "test")}
    return {"labels": list(content["labels"]), **lists, "videos": videos}


def read_tube_annotations(folder: Path, stems: Sequence[str]) -> TubeAnnotations:
    """Read converted annotations.

    Args:
        folder: holds `<stem>.json`.
        stems: the first of which there is a file.

    Raises:
        FileNotFoundError: there is none; where there is the pickle, says how it is converted.
        ValueError: the file is none of them, or a list names a video without annotations.
    """
    path = next((folder / f"{stem}.json" for stem in stems if (folder / f"{stem}.json").is_file()), None)
    if path is None:
        pickled = next((folder / f"{stem}.pkl" for stem in stems if (folder / f"{stem}.pkl").is_file()), None)
        way_out = "unpack the annotations there"
        if pickled is not None:
            target = pickled.with_suffix(".json")
            way_out = f"convert them: python scripts/convert_tube_annotations.py {pickled} {target}"
        raise FileNotFoundError(f"{folder} has no {' or '.join(f'{stem}.json' for stem in stems)}; {way_out}")
    content = read_json_object(path, "converted tube annotations")
    missing = [name for name in ("labels", "train", "test", "videos") if name not in content]
    if missing:
        raise ValueError(f"{path} has no {missing[0]!r}; convert the pickle again")
    annotations = TubeAnnotations(*(content[name] for name in ("labels", "train", "test", "videos")))
    for names in (annotations.train[0], annotations.test[0]):
        unknown = [name for name in names if name not in annotations.videos]
        if unknown:
            raise ValueError(f"{path} lists {unknown[0]!r}, of which it has no annotations")
    return annotations
