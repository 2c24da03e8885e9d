"""Run a trained model on a file or a folder; draw what it finds.

For temporal action localisation OUTPUT_DIR gets predictions.json (ActivityNet results form), and for every video a
timeline NAME.png and a page NAME.html that plays the video over its timeline:
    python scripts/predict.py --model runs/asm_loc --input match.mp4 --output_dir predictions
    python scripts/predict.py --model org/asm-loc-thumos --input features --output_dir predictions --threshold 0.1

The input is a video, a feature file (.npy, .npz, .h5), or a folder of them. In a folder, a feature file with the name
of a video is taken as its features: this is how a checkpoint without a feature extractor of its own is shown videos.
For attention localisation the input is a picture or a folder of them; OUTPUT_DIR gets contact_sheet.png (picture, heat
map and box for each class; a further sheet for every 20 pictures) and attention.json. Any image classifier of
transformers or timm can be shown that way:
    python scripts/predict.py --method l2_caf --model microsoft/resnet-50 --input pictures --output_dir attention \
        --objective centered --top_k 3
A file that cannot be read is reported and passed over; the exit status is then 2 at the end.
"""

import argparse
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoImageProcessor, AutoModel, PreTrainedConfig
from transformers.utils import logging

from hf_vidmodels import L2CafConfig, L2CafForObjectLocalization, L2CafImageProcessor
from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.auto import PIPELINES, method_of
from hf_vidmodels.command_line import run
from hf_vidmodels.configuration.configuration_l2_caf import OBJECTIVES
from hf_vidmodels.data.feature_files import FEATURE_SUFFIXES
from hf_vidmodels.data.feature_folders import VIDEO_SUFFIXES, find_videos
from hf_vidmodels.metrics.activitynet_files import write_activitynet_results
from hf_vidmodels.pipelines.attention_localization import AttentionLocalizationPipeline
from hf_vidmodels.pipelines.temporal_action_localization import TemporalActionLocalizationPipeline, best_segments
from hf_vidmodels.processing.decoding import decode_frames, probe_video
from hf_vidmodels.processing.processing_l2_caf import read_picture
from hf_vidmodels.visualization.contact_sheet import draw_contact_sheet
from hf_vidmodels.visualization.timeline_page import write_timeline_page
from hf_vidmodels.visualization.timelines import draw_timeline, save_figure

SEGMENTS_IN_TABLE = 3
FRAMES_IN_PICTURE = 12
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SHEET_NAME = "contact_sheet.png"
ROWS_IN_SHEET = 20
# Options that only one task uses; the others mean something for every task.
TASK_OF_OPTION = {
    "embed_video": "temporal-action-localization",
    "objective": "attention-localization",
    "classes": "attention-localization",
}


@dataclass(frozen=True)
class Source:
    """What there is of one video: the video, its features, or both."""

    video: Path | None = None
    features: Path | None = None


def main() -> None:
    """Read the command line and predict by the model's task."""
    arguments = parse_arguments()
    logging.disable_progress_bar()
    if arguments.method == "l2_caf":
        task = "attention-localization"
    else:
        task = task_of(read_config(arguments.model), arguments.model)
    check_options(arguments, task)
    find = find_pictures if task == "attention-localization" else find_sources
    TASKS[task](arguments, find(arguments.input))


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a finished run, or Hub id")
    parser.add_argument("--input", required=True, type=Path, help="video, feature file, or folder of them")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the results, made when missing")
    parser.add_argument("--threshold", type=float, help="leave out what scores lower (default: keep all)")
    parser.add_argument("--top_k", type=int, help="keep so many results of each input at most (default: all)")
    parser.add_argument("--embed_video", action="store_true", help="put the video into its page (default: link to it)")
    parser.add_argument("--method", choices=["l2_caf"], help="show where any image classifier looks, by this method")
    parser.add_argument("--objective", choices=OBJECTIVES, help="of the attention (default: class_specific)")
    parser.add_argument("--classes", nargs="+", help="class names or ids to explain (default: the best TOP_K, or 1)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    return parser.parse_args(arguments)


def check_options(arguments: argparse.Namespace, task: str) -> None:
    """Refuse what would have no effect on the task, or no result.

    Raises:
        ValueError: when an option belongs to another task, or `--top_k` leaves nothing.
    """
    for option, its_task in TASK_OF_OPTION.items():
        if its_task != task and getattr(arguments, option) not in (None, False):
            raise ValueError(f"--{option} is for {its_task}, but {arguments.model} is used for {task}; leave it out")
    if arguments.top_k is not None and arguments.top_k < 1:
        raise ValueError(f"--top_k must be at least 1, got {arguments.top_k}")


def read_config(model: str) -> PreTrainedConfig:
    """Read the configuration of a checkpoint.

    Raises:
        FileNotFoundError: when a folder holds none.
        OSError, ValueError: when there is no such checkpoint, or transformers does not know its kind.
    """
    if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
        raise FileNotFoundError(f"{model} holds no config.json; give the output folder of a finished run, or a Hub id")
    return AutoConfig.from_pretrained(model)


def task_of(config: PreTrainedConfig, model: str) -> str:
    """Find what a checkpoint is for.

    Raises:
        ValueError: when it is no method of this package or has a task that this script cannot run.
    """
    try:
        classes = method_of(config).task_classes
    except ValueError as error:
        raise ValueError(f"{model} is no checkpoint of this package: {error}") from error
    for task, _, auto_class, _ in PIPELINES:
        if auto_class in classes and task in TASKS:
            return task
    raise ValueError(f"{model} is for none of the tasks that this script runs: {', '.join(TASKS)}")


def find_sources(path: Path) -> dict[str, Source]:
    """Find the inputs by id, the file name without suffix.

    Raises:
        FileNotFoundError: when there is nothing to predict on.
        ValueError: when two inputs have the same id, or a file is neither video nor features.
    """
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix not in FEATURE_SUFFIXES and suffix not in VIDEO_SUFFIXES:
            known = ", ".join(sorted(VIDEO_SUFFIXES) + list(FEATURE_SUFFIXES))
            raise ValueError(f"{path} is neither a video nor a feature file (known: {known})")
        return {path.stem: Source(features=path) if suffix in FEATURE_SUFFIXES else Source(video=path)}
    if not path.is_dir():
        raise FileNotFoundError(f"there is no input {path}")
    features: dict[str, Path] = {}
    for file in sorted(file for file in path.rglob("*") if file.suffix.lower() in FEATURE_SUFFIXES):
        if file.stem in features:
            raise ValueError(
                f"{features[file.stem]} and {file} would both be called {file.stem!r}; rename one of them"
            )
        features[file.stem] = file
    try:
        videos = find_videos(path)
    except FileNotFoundError:
        if not features:
            raise
        videos = {}
    return {name: Source(videos.get(name), features.get(name)) for name in sorted(videos.keys() | features.keys())}


def localize_actions(arguments: argparse.Namespace, sources: Mapping[str, Source]) -> None:
    """Localise actions in time in every input, write and print what is found.

    Raises:
        ValueError: when the checkpoint cannot take the inputs, or at the end when some could not be read.
    """
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    locate = TemporalActionLocalizationPipeline(AutoModel.from_pretrained(arguments.model), device=device)
    if any(source.features is None for source in sources.values()):
        print(f"features by {', '.join(locate.snippet_extractor.streams)} networks of the checkpoint")
    predictions, failures, rows = {}, {}, []
    try:
        for video_id, source in tqdm(sources.items(), unit="video", disable=len(sources) == 1):
            try:
                features = locate.preprocess(source.features or source.video)
                prediction = locate.forward([features], return_curves=True)[0]
                picture = describe_source(source, len(features["features"]), locate.model.config)
            except (ValueError, OSError) as error:
                failures[video_id] = " ".join(str(error).split())
                continue
            best = best_segments(prediction, arguments.top_k, arguments.threshold)
            predictions[video_id] = best
            rows += table_rows(video_id, picture["duration"], best, locate.model.config.id2label)
            draw(arguments, video_id, source, best, picture, prediction, locate.model.config.id2label)
    finally:
        if predictions:
            write_activitynet_results(
                arguments.output_dir / "predictions.json", predictions, locate.model.config.id2label
            )
    print_table(("video", "duration", "action", "score", "start", "end"), rows)
    for video_id, reason in failures.items():
        print(f"failed: {video_id}: {reason}")
    if failures:
        raise ValueError(f"{len(failures)} of {len(sources)} inputs could not be predicted on: {', '.join(failures)}")
    print(f"\nwrote predictions.json and the timelines of {len(predictions)} videos to {arguments.output_dir}")


def find_pictures(path: Path) -> dict[str, Path]:
    """Find the pictures by file name.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when a file is no picture by its suffix.
    """
    if path.is_file():
        if path.suffix.lower() not in PICTURE_SUFFIXES:
            raise ValueError(f"{path} is no picture (known: {', '.join(PICTURE_SUFFIXES)})")
        return {path.name: path}
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"there is no picture in {path} (known: {', '.join(PICTURE_SUFFIXES)})")
    return {str(file.relative_to(path)): file for file in files}


def explain_pictures(arguments: argparse.Namespace, sources: Mapping[str, Path]) -> None:
    """Show where a network looks in every picture, write and print what is found.

    Raises:
        ValueError: when the checkpoint cannot take the inputs, or at the end when some could not be read.
    """
    explain = attention_pipeline(arguments)
    config = explain.model.config
    if arguments.top_k is not None:
        config.top_k = arguments.top_k
    class_ids = None if arguments.classes is None else [class_id_of(name, config) for name in arguments.classes]
    settings = {"class_ids": class_ids, "objective": arguments.objective or "class_specific"}
    failures, sheet, answers = {}, [], {}
    for name, path in tqdm(sources.items(), unit="picture", disable=len(sources) == 1):
        try:
            picture = read_picture(path)
        except (ValueError, OSError) as error:
            failures[name] = " ".join(str(error).split())
            continue
        found = explain(picture, threshold=arguments.threshold, **settings)
        sheet.append({"image": picture, "title": name, "explanations": found})
        answers[name] = [{key: value for key, value in answer.items() if key != "heatmap"} for answer in found]
        if len(sheet) == ROWS_IN_SHEET:
            save_sheet(sheet, arguments.output_dir, len(answers), settings["objective"])
            sheet = []
    if sheet:
        save_sheet(sheet, arguments.output_dir, len(answers), settings["objective"])
    if answers:
        write_json(arguments.output_dir / "attention.json", answers)
    rows = [
        (
            name if index == 0 else "",
            answer["label"],
            f"{answer['score']:.3f}",
            answer["solver"],
            str(list(answer["box"].values())),
        )
        for name, found in answers.items()
        for index, answer in enumerate(found)
    ]
    print_table(("picture", "class", "score", "solver", "box"), rows)
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}")
    if failures:
        raise ValueError(f"{len(failures)} of {len(sources)} pictures could not be read: {', '.join(failures)}")
    print(f"\nwrote {SHEET_NAME} and attention.json of {len(answers)} pictures to {arguments.output_dir}")


def save_sheet(sheet: Sequence[Mapping[str, Any]], folder: Path, num_pictures: int, objective: str) -> None:
    """Write the sheet that ends with picture number `num_pictures`: contact_sheet.png, contact_sheet_2.png, ..."""
    number = -(-num_pictures // ROWS_IN_SHEET)
    folder.mkdir(parents=True, exist_ok=True)
    name = SHEET_NAME if number == 1 else SHEET_NAME.replace(".", f"_{number}.")
    save_figure(draw_contact_sheet(sheet, f"L2-CAF, {objective}"), folder / name)


def attention_pipeline(arguments: argparse.Namespace) -> AttentionLocalizationPipeline:
    """Load a checkpoint of L2-CAF, or wrap an image classifier."""
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if read_config(arguments.model).model_type == L2CafConfig.model_type:
        model = AutoModel.from_pretrained(arguments.model)
        processor = AutoImageProcessor.from_pretrained(arguments.model)
    else:
        model = L2CafForObjectLocalization.from_network(arguments.model)
        processor = L2CafImageProcessor.from_config(model.config)
    return AttentionLocalizationPipeline(model.eval(), image_processor=processor, device=device)


def class_id_of(name: str, config: PreTrainedConfig) -> int:
    """Find a class by its id or name.

    Raises:
        ValueError: when the network has no such class; names the nearest.
    """
    if name.isdigit():
        return int(name)
    ids = {label: index for index, label in config.id2label.items()}
    if name not in ids:
        near = ", ".join(difflib.get_close_matches(name, ids, n=3)) or "none"
        raise ValueError(f"the network has no class {name!r}; nearest names: {near}")
    return ids[name]


def describe_source(source: Source, num_features: int, config: PreTrainedConfig) -> dict[str, Any]:
    """Give the `duration` in seconds of a video (of its features where it has no timing) and `frames` to show."""
    duration = num_features * config.frames_per_snippet / config.frames_per_second
    if source.video is None:
        return {"duration": duration, "frames": None}
    video = probe_video(source.video)
    indices = ((np.arange(FRAMES_IN_PICTURE) + 0.5) * video.num_frames / FRAMES_IN_PICTURE).astype(int)
    timed = np.isfinite(video.duration)
    return {"duration": video.duration if timed else duration, "frames": decode_frames(source.video, indices)}


def draw(
    arguments: argparse.Namespace,
    video_id: str,
    source: Source,
    best: Mapping[str, np.ndarray],
    picture: Mapping[str, Any],
    curves: Mapping[str, np.ndarray],
    label_names: Mapping[int, str],
) -> None:
    """Write the timeline of one video, and its page when there is a file to play."""
    content = {
        "duration": picture["duration"],
        "label_names": label_names,
        **{name: curves[name] for name in ("attention", "class_scores", "curve_times")},
        "title": video_id,
    }
    figure = draw_timeline(best, video_frames=picture["frames"], **content)
    save_figure(figure, arguments.output_dir / f"{video_id}.png")
    if source.video is not None and source.video.is_file():
        page = arguments.output_dir / f"{video_id}.html"
        write_timeline_page(page, source.video, best, embed_video=arguments.embed_video, **content)


def table_rows(
    video_id: str, duration: float, best: Mapping[str, np.ndarray], label_names: Mapping[int, str]
) -> list[tuple[str, ...]]:
    """Give the lines of the printed table for one video: its best segments, and how many more there are."""
    head = (video_id, f"{duration:.1f} s")
    if not len(best["scores"]):
        return [(*head, "nothing found", "", "", "")]
    rows = []
    for index in range(min(SEGMENTS_IN_TABLE, len(best["scores"]))):
        start, end = best["segments"][index]
        name = label_names[int(best["labels"][index])]
        rows.append(
            (*(head if index == 0 else ("", "")), name, f"{best['scores'][index]:.3f}", f"{start:.2f}", f"{end:.2f}")
        )
    more = len(best["scores"]) - len(rows)
    return rows + ([("", "", f"... {more} more", "", "", "")] if more else [])


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print lines of text in columns."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# What runs a checkpoint, by its task: (arguments, inputs by id) -> None.
TASKS: dict[str, Callable[[argparse.Namespace, Mapping[str, Any]], None]] = {
    "temporal-action-localization": localize_actions,
    "attention-localization": explain_pictures,
}


if __name__ == "__main__":
    run(main)
