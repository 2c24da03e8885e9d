"""Readers and a writer of the ActivityNet JSON formats, in which THUMOS-14 is evaluated as well.

Ground truth: `{"database": {video_id: {"subset", "annotations": [{"label", "segment": [start, end]}]}}}`.
Results: `{"version", "results": {video_id: [{"label", "score", "segment": [start, end]}]}, "external_data"}`.
Times are seconds.
"""

import os
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from ..atomic_io import read_json_object, write_json
from .label_names import LabelNames, ids_by_name, names_by_id
from .segment_table import SegmentTable

RESULTS_VERSION = "VERSION 1.3"

_KIND_NAMES = {Mapping: "JSON object", list: "list", str: "string", Real: "number"}

VideoSegments = dict[str, dict[str, np.ndarray]]


def read_activitynet_ground_truth(
    source: str | os.PathLike[str] | Mapping[str, Any], subset: str, *, label_names: LabelNames | None = None
) -> tuple[VideoSegments, dict[int, str]]:
    """Read the annotations of one subset.

    Args:
        source: a JSON file or its content.
        subset: value of `subset` of the videos to read, such as `"validation"` or `"test"`.
        label_names: class names by id; by default all that occur in the file, in any subset, sorted.

    Returns:
        `{video_id: {"segments": (M, 2) float64, "labels": (M,) int64}}` with annotations in the order of the file, and
        the class names by id.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for what is not this format, a subset that does not occur, or a label that is not in `label_names`;
            the message names the video and the entry.
    """
    content, name = _content_of(source, "the ground truth")
    chosen, subsets, occurring = {}, set(), set()
    for video_id, video in _member(content, "database", Mapping, name).items():
        where = f"video {video_id!r} in {name}"
        annotations = _member(video, "annotations", list, where)
        video_subset = _member(video, "subset", str, where)
        subsets.add(video_subset)
        occurring.update(_member(entry, "label", str, spot) for spot, entry in _entries(annotations, where))
        if video_subset == subset:
            chosen[video_id] = annotations
    if not chosen:
        found = ", ".join(map(repr, sorted(subsets))) or "no video at all"
        raise ValueError(f"subset must be one of those in {name}, got {subset!r}; found {found}")

    label_names = names_by_id(sorted(occurring) if label_names is None else label_names)
    ids = ids_by_name(label_names)
    references = {}
    for video_id, annotations in chosen.items():
        entries = list(_entries(annotations, f"video {video_id!r} in {name}"))
        references[video_id] = {
            "segments": np.array([_segment(entry, spot) for spot, entry in entries], dtype=np.float64).reshape(-1, 2),
            "labels": np.array([_class_id(entry, ids, spot) for spot, entry in entries], dtype=np.int64),
        }
    return references, label_names


def read_activitynet_results(
    source: str | os.PathLike[str] | Mapping[str, Any], label_names: LabelNames, *, drop_unknown_labels: bool = False
) -> VideoSegments:
    """Read predicted segments.

    Args:
        source: a JSON file or its content.
        label_names: class names by id, as `read_activitynet_ground_truth` returns them.
        drop_unknown_labels: leave out predictions whose label is not in `label_names` (they cannot count in mAP)
            instead of refusing them.

    Returns:
        `{video_id: {"segments": (N, 2) float64, "scores": (N,) float64, "labels": (N,) int64}}` in file order.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for what is not this format or an unknown label; the message names the video and the entry.
    """
    content, name = _content_of(source, "the results")
    ids = ids_by_name(label_names)
    predictions = {}
    for video_id, detections in _member(content, "results", Mapping, name).items():
        entries = list(_entries(detections, f"video {video_id!r} in {name}"))
        if drop_unknown_labels:
            entries = [(spot, entry) for spot, entry in entries if _member(entry, "label", str, spot) in ids]
        predictions[video_id] = {
            "segments": np.array([_segment(entry, spot) for spot, entry in entries], dtype=np.float64).reshape(-1, 2),
            "scores": np.array([_member(entry, "score", Real, spot) for spot, entry in entries], dtype=np.float64),
            "labels": np.array([_class_id(entry, ids, spot) for spot, entry in entries], dtype=np.int64),
        }
    return predictions


def results_to_json(
    predictions: Mapping[str, Mapping[str, Any]], label_names: LabelNames, *, external_data: Any = None
) -> dict[str, Any]:
    """Return predictions in the ActivityNet results form, exactly as `read_activitynet_results` reads them back.

    Args:
        predictions: `{video_id: {"segments": (N, 2) seconds, "scores": (N,), "labels": (N,) class ids}}`.
        label_names: class names by id.
        external_data: what the results say about further training data; an empty mapping by default.

    Raises:
        ValueError: for arrays that do not fit, values that are not finite, or a class id without a name; the message
            names the video.
    """
    table = SegmentTable.from_mapping(predictions, name="predictions", with_scores=True)
    names = names_by_id(label_names)
    results: dict[str, list[dict[str, Any]]] = {video_id: [] for video_id in table.video_ids}
    columns = (table.videos.tolist(), table.labels.tolist(), table.scores.tolist(), table.segments.tolist())
    for video, label, score, segment in zip(*columns, strict=True):
        video_id = table.video_ids[video]
        if label not in names:
            raise ValueError(
                f"label_names must name every predicted class, got no name for {label} of video {video_id!r}"
            )
        results[video_id].append({"label": names[label], "score": score, "segment": segment})
    return {"version": RESULTS_VERSION, "results": results, "external_data": external_data or {}}


def write_activitynet_results(
    path: str | os.PathLike[str],
    predictions: Mapping[str, Mapping[str, Any]],
    label_names: LabelNames,
    *,
    external_data: Any = None,
) -> None:
    """Write `results_to_json` of the same arguments as a JSON file, atomically.

    Raises:
        ValueError: as `results_to_json`.
        OSError: when the file cannot be written; nothing half-written remains.
    """
    write_json(path, results_to_json(predictions, label_names, external_data=external_data))


def _content_of(source: str | os.PathLike[str] | Mapping[str, Any], kind: str) -> tuple[Mapping[str, Any], str]:
    if isinstance(source, Mapping):
        return source, kind
    return read_json_object(source, f"{kind} in the ActivityNet form"), os.fspath(source)


def _member(mapping: Any, key: str, kind: type, where: str) -> Any:
    """Return `mapping[key]`, which must be of the given kind."""
    if not isinstance(mapping, Mapping) or key not in mapping:
        found = f"keys {sorted(mapping)}" if isinstance(mapping, Mapping) else type(mapping).__name__
        raise ValueError(f"{where} must be an object with the key {key!r}, got {found}")
    if not isinstance(mapping[key], kind) or isinstance(mapping[key], bool):
        raise ValueError(f"{key!r} of {where} must be a {_KIND_NAMES[kind]}, got {mapping[key]!r:.60}")
    return mapping[key]


def _entries(entries: Any, where: str) -> list[tuple[str, Any]]:
    """Pair each entry of a video with how errors call it."""
    if not isinstance(entries, list):
        raise ValueError(f"{where} must hold a list of segments, got {type(entries).__name__}")
    return [(f"entry {index} of {where}", entry) for index, entry in enumerate(entries)]


def _segment(entry: Mapping[str, Any], where: str) -> list[float]:
    segment = _member(entry, "segment", list, where)
    if len(segment) != 2 or not all(isinstance(time, Real) for time in segment):
        raise ValueError(f"'segment' of {where} must be [start, end] in seconds, got {segment!r:.60}")
    return segment


def _class_id(entry: Mapping[str, Any], ids: Mapping[str, int], where: str) -> int:
    label = _member(entry, "label", str, where)
    if label not in ids:
        raise ValueError(f"label of {where} must be one of the {len(ids)} known classes, got {label!r}")
    return ids[label]
