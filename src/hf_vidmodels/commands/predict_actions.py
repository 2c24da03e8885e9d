"""`hf-vidmodels predict` for action detection: who does what, where and when in a film, as files and as pictures."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from tqdm.auto import tqdm
from transformers import AutoVideoProcessor, PreTrainedModel

from ..atomic_io import write_json
from ..data.published.ava_classes import AVA_CLASSES
from ..data.video_writing import write_video
from ..evaluation.answer_forms import prepare_to_answer, refuse_absent_step
from ..metrics.ava_files import read_ava_rows, write_ava_detections
from ..output_files import output_file
from ..pipelines.action_detection import DEFAULT_THRESHOLD
from ..processing.decoding import Video, iterate_frames, open_video
from ..processing.key_frame_clips import key_times
from ..processing.people_in_videos import PersonTracker, find_people
from ..processing.second_folders import is_second_folders
from ..text_tables import print_table
from ..visualization.action_frames import draw_action_frames
from ..visualization.figures import save_figure
from ..visualization.followed_people import FollowedPerson, action_spans, annotated_frames, follow_people
from ..visualization.timeline_page import write_timeline_page
from .opened_models import open_model
from .predict_video_classes import find_classified_videos
from .prediction_journal import PredictionJournal
from .prediction_runs import Predicted, TableRows, predict_each, report_failures

STILLS = 12
SPANS_IN_TABLE = 5
# Key times in one forward pass.
BATCH_SIZE = 4
# Small, and shown by browsers while they load it.
VIDEO_OPTIONS = {"crf": "23", "preset": "veryfast", "movflags": "+faststart"}


def find_films(path: Path) -> dict[str, Path]:
    """Find the films by id: a file, a folder of numbered frames or of folders of seconds (AVA), or a folder of such.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when a file is no video by its suffix, or two videos have the same id.
    """
    if path.is_dir():
        if is_second_folders(path):
            return {path.name: path}
        folders = [child for child in sorted(path.iterdir()) if child.is_dir() and is_second_folders(child)]
        if folders:
            return {folder.name: folder for folder in folders}
    return find_classified_videos(path)


@dataclass(frozen=True)
class _Detector:
    """What finds actions in films: the model, its processor, and what was asked for on the command line."""

    model: PreTrainedModel
    processor: Any
    arguments: argparse.Namespace
    proposals: Mapping[str, Mapping[float, np.ndarray]]

    def key_times(self, name: str, film: Video) -> np.ndarray:
        """Seconds to look at: those of the proposals, or every full one."""
        if self.model.needs_boxes:
            if name not in self.proposals:
                raise ValueError(
                    f"the model needs boxes of people, and --proposals has none for {name}; its videos are: "
                    f"{', '.join(list(self.proposals)[:5])}"
                )
            return np.array(sorted(self.proposals[name]))
        return key_times(film, self.arguments.fps)

    def detect(self, name: str, source: Path, timestamps: np.ndarray) -> Iterator[dict[str, Any]]:
        """Look at some key times of a film."""
        options = {} if self.arguments.step is None else {"step": self.arguments.step}
        if self.model.needs_boxes:
            options["proposals"] = [self.proposals[name][time] for time in timestamps.tolist()]
        return self.model.detect_actions(
            source, self.processor, timestamps=timestamps, batch_size=BATCH_SIZE, fps=self.arguments.fps, **options
        )


def detect_actions(arguments: argparse.Namespace, films: Mapping[str, Path], accelerator: Accelerator) -> None:
    """Find who does what in every film; write and print it.

    OUTPUT_DIR gets predictions.json and for every film NAME.csv (AVA's form), NAME.mp4 (the film with people, actions
    and sound), NAME.png (stills) and NAME.html (the film over a timeline of each person). A film that was stopped goes
    on at the key time after the last one that was done.

    Args:
        arguments: those of the predict command; `device` is this process's.
        films: by id.
        accelerator: whose processes share the films.

    Raises:
        ValueError: when the model needs boxes and --proposals gives none, when it has no such step, or at the end when
            some could not be read.
    """
    model = open_model(arguments.model, arguments.device)
    if model.needs_boxes and arguments.proposals is None:
        raise ValueError(
            f"{type(model).__name__} says what people in given boxes do: name a CSV of these with --proposals (video, "
            "second, x1, y1, x2, y2, relative to width and height)"
        )
    refuse_absent_step(model, arguments.step)
    prepare_to_answer(model, arguments.mixed_precision)
    proposals = {} if arguments.proposals is None else read_proposals(arguments.proposals)
    detector = _Detector(model, AutoVideoProcessor.from_pretrained(arguments.model), arguments, proposals)

    def find(name: str, source: Path) -> Predicted:
        film = open_video(source)
        found = detect_film(detector, name, source, film)
        key_frames = name_people(found, model.config.id2label, _threshold(arguments))
        write_ava_detections(
            output_file(arguments.output_dir, name, ".csv"),
            [{"video": name, **_at_least(one, arguments.threshold or 0.0)} for one in found],
            ava_ids(model.config.id2label),
        )
        if arguments.no_figures:
            people, spacing = follow_people(key_frames), spacing_of(key_frames)
            spans = spans_in_film(people, spacing, film, film.metadata().duration)
        else:
            # Not beside the next film: it takes minutes, and who stops the command would have to wait for them.
            spans = draw_film(arguments, name, source, film, key_frames)
        PredictionJournal(arguments, {name: source}, f"{name}.journal").remove()
        return Predicted([_written(key_frame) for key_frame in key_frames], table_rows(name, spans))

    def write(answers: dict[str, Any]) -> None:
        write_json(arguments.output_dir / "predictions.json", answers)

    found = predict_each(films, find, arguments, accelerator, "film", write)
    if accelerator.is_main_process:
        print_table(("film", "who: what", "score", "from", "to"), found.rows)
        report_failures(found.failures, len(films), "films could not be predicted on")
        what = "predictions.json and CSV" + ("" if arguments.no_figures else ", film, stills, page")
        print(f"\nwrote {what} of {len(films)} films to {arguments.output_dir}")


def read_proposals(path: Path) -> dict[str, dict[float, np.ndarray]]:
    """Read boxes of people in AVA's form, with or without action and score: by video and second.

    Raises:
        FileNotFoundError, ValueError: as `read_ava_rows`.
    """
    rows = read_ava_rows(path, boxes_alone=True)
    found: dict[str, dict[float, list[np.ndarray]]] = {}
    for video, second, box in zip(rows.videos, rows.seconds.tolist(), rows.boxes, strict=True):
        found.setdefault(video, {}).setdefault(second, []).append(box)
    # A person whom several rows name is one.
    return {
        video: {second: np.unique(boxes, axis=0) for second, boxes in of_video.items()}
        for video, of_video in found.items()
    }


def detect_film(detector: _Detector, name: str, source: Path, film: Video) -> list[dict[str, Any]]:
    """Look at all key times of a film; those in its journal are done.

    Returns:
        What `detect_actions` of the model gives, for each key time.
    """
    journal = PredictionJournal(detector.arguments, {name: source}, f"{name}.journal")
    timestamps = detector.key_times(name, film)
    found = [journal.blocks[number][0] for number in range(len(journal.blocks))]
    left = timestamps[len(found) :]
    for one in tqdm(detector.detect(name, source, left), f"watching {name}", len(left), unit="key time", leave=False):
        journal.add(len(found), [one])
        found.append(one)
    return found


def name_people(
    found: Sequence[Mapping[str, Any]], id2label: Mapping[int, str], threshold: float
) -> list[dict[str, Any]]:
    """Join detections to people, follow them through the film, and name what they do."""
    tracker, key_frames = PersonTracker(), []
    for one in found:
        people = find_people(one, threshold=threshold)
        times = one.get("tube_times")
        numbers = tracker.follow(people, one["timestamp"], times)
        key_frames.append(
            {
                "timestamp": one["timestamp"],
                "people": [
                    {
                        "person": number,
                        "box": person.box.tolist(),
                        "actions": [(id2label[label], score) for label, score in person.actions],
                        "tube": person.tube,
                        "tube_times": times,
                    }
                    for number, person in zip(numbers, people, strict=True)
                ],
            }
        )
    return key_frames


def _threshold(arguments: argparse.Namespace) -> float:
    return DEFAULT_THRESHOLD if arguments.threshold is None else arguments.threshold


def _at_least(found: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    scores = np.asarray(found["scores"])
    return {**found, "scores": np.where(scores >= threshold, scores, 0)}


def ava_ids(id2label: Mapping[int, str]) -> dict[int, int]:
    """Give the action id of each class: AVA's where all are its classes, otherwise the class id plus one."""
    ids = {name: action for action, name in AVA_CLASSES.items()}
    if set(id2label.values()) <= set(ids):
        return {label: ids[name] for label, name in id2label.items()}
    return {label: label + 1 for label in id2label}


def _written(key_frame: Mapping[str, Any]) -> dict[str, Any]:
    """A key time as predictions.json has it."""
    return {
        "timestamp": key_frame["timestamp"],
        "people": [
            {
                "person": person["person"],
                "box": [round(side, 6) for side in person["box"]],
                "actions": [{"label": name, "score": round(score, 6)} for name, score in person["actions"]],
            }
            for person in key_frame["people"]
        ],
    }


def draw_film(
    arguments: argparse.Namespace, name: str, source: Path, film: Video, key_frames: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Write the film with its people, a sheet of stills and a page; give the spans of the timeline."""
    spacing = spacing_of(key_frames)
    start = getattr(film, "start_time", 0.0)
    rate = arguments.fps if np.isnan(film.frame_rate) else film.frame_rate
    people = follow_people(key_frames)
    frames = iterate_frames(source, None if film.frame_times() is None else rate)
    annotated = annotated_frames(frames, (start + number / rate for number in count()), people, spacing)
    video = output_file(arguments.output_dir, name, ".mp4")
    write_video(video, annotated, rate, options=VIDEO_OPTIONS, sound_of=source if source.is_file() else None)
    draw_stills(arguments, name, source, key_frames)
    duration = open_video(video).metadata().duration
    spans = spans_in_film(people, spacing, film, duration)
    write_timeline_page(
        output_file(arguments.output_dir, name, ".html"),
        video,
        {key: spans[key] for key in ("segments", "scores", "labels")},
        duration=duration,
        label_names=spans["names"] or ["nobody"],
        row_colours=spans["colours"] or None,
        title=name,
        embed_video=arguments.embed_video,
    )
    return spans


def spacing_of(key_frames: Sequence[Mapping[str, Any]]) -> float:
    """Give the seconds between key times."""
    times = [key_frame["timestamp"] for key_frame in key_frames]
    return float(np.diff(times).min()) if len(times) > 1 else 1.0


def spans_in_film(people: Sequence[FollowedPerson], spacing: float, film: Video, duration: float) -> dict[str, Any]:
    """Give the spans of the timeline of followed people, in seconds from the first frame and inside the film."""
    spans = action_spans(people, spacing)
    end = np.inf if np.isnan(duration) else duration
    spans["segments"] = np.clip(spans["segments"] - getattr(film, "start_time", 0.0), 0, end)
    return spans


def draw_stills(
    arguments: argparse.Namespace, name: str, source: Path, key_frames: Sequence[Mapping[str, Any]]
) -> None:
    """Draw key times on which people were found, spread over the film; any where nobody was."""
    shown = [key_frame for key_frame in key_frames if key_frame["people"]] or list(key_frames)
    chosen = np.unique(np.linspace(0, len(shown) - 1, min(STILLS, len(shown))).round().astype(int))
    stills = [
        {"video": source, "fps": arguments.fps, "title": f"{shown[place]['timestamp']:g} s", **shown[place]}
        for place in chosen
    ]
    save_figure(draw_action_frames(stills, name), output_file(arguments.output_dir, name, ".png"))


def table_rows(name: str, spans: Mapping[str, Any]) -> TableRows:
    """Give the lines of the printed table for one film: its best spans, and how many more there are."""
    if not len(spans["scores"]):
        return [(name, "nothing found", "", "", "")]
    best = np.argsort(-spans["scores"], kind="stable")
    rows = []
    for place, span in enumerate(best[:SPANS_IN_TABLE].tolist()):
        begin, end = spans["segments"][span]
        label = spans["names"][spans["labels"][span]]
        rows.append((name if place == 0 else "", label, f"{spans['scores'][span]:.3f}", f"{begin:.1f}", f"{end:.1f}"))
    more = len(best) - len(rows)
    return rows + ([("", f"... {more} more", "", "", "")] if more else [])
