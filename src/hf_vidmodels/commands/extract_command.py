"""Make snippet features of a folder of videos: the input of temporal action localisation.

Every video becomes OUTPUT_DIR/<video>.npy, float32 rows of one snippet each (16 frames at 25 frames per second);
OUTPUT_DIR/features.json says how they were made. Stopped, it goes on where it was when called again.

With a pretrained video model, from the Hub or a folder (its preprocessor_config.json gives size, mean and std):
    hf-vidmodels extract --videos clips --output_dir features \\
        --model MCG-NJU/videomae-base-finetuned-kinetics

RGB and optical flow, a model each, two processes (flow is shown as pictures of horizontal, vertical and total motion):
    hf-vidmodels extract --videos clips --output_dir features --streams rgb flow \\
        --model ./rgb_model ./flow_model --flow_bound 20 --num_processes 2

With a torchvision model and weights that lie here:
    hf-vidmodels extract --videos clips --output_dir features \\
        --model torchvision:r3d_18 --weights r3d_18.safetensors

The same features as a checkpoint was trained with, or as a settings file says:
    hf-vidmodels extract --videos clips --output_dir features --checkpoint runs/asm_loc
    hf-vidmodels extract --videos clips --output_dir features --settings other_features/features.json

A snippet at the end of a video with less than half its frames is dropped, a fuller one is filled up with the last
frame. Folders of numbered pictures count as videos whose frames were taken at --frames_per_second.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..command_line import command_parser, quiet_libraries
from ..data.features.stream_settings import POOLINGS, STREAMS
from ..output_files import refuse_inputs_as_outputs
from ..tasks import PRECISIONS

if TYPE_CHECKING:
    from ..data.features.corpus_extraction import ExtractionReport
    from ..data.features.feature_extraction import SnippetFeatureExtractor

TABLE_ROWS = 40
TIMING_OPTIONS = ("frames_per_second", "frames_per_snippet", "snippet_stride")
STREAM_OPTIONS = ("revision", "pooling", "num_frames", "size", "crop_size", "random_init_seed")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, make the features and report."""
    arguments = parse_arguments(argv)
    refuse_inputs_as_outputs([arguments.output_dir], [arguments.videos, arguments.dataset_name, arguments.checkpoint])
    quiet_libraries()
    from ..data.features.corpus_extraction import extract_corpus_features

    videos = read_videos(arguments)
    extractor = make_extractor(arguments)
    print(f"{len(videos)} videos, {describe(extractor)}")
    started = time.perf_counter()
    report = extract_corpus_features(
        videos, extractor, arguments.output_dir, num_processes=arguments.num_processes, max_failed=None
    )
    seconds = time.perf_counter() - started
    print("\n" + format_report(report, videos, extractor))
    print(
        f"\n{sum(report.num_rows.values())} rows of {extractor.feature_size} for {len(report.num_rows)} videos in "
        f"{arguments.output_dir} ({report.num_found} were there before, {len(report.failures)} unreadable), "
        f"{seconds:.1f} s"
    )
    report.refuse_failures(arguments.max_failed)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("extract", __doc__)
    videos = parser.add_argument_group("videos").add_mutually_exclusive_group(required=True)
    videos.add_argument("--videos", type=Path, help="folder of video files, sub-folders included")
    videos.add_argument(
        "--dataset_name", "--corpus", help="corpus with videos, by name or path (see hf-vidmodels check)"
    )
    parser.add_argument("--data_dir", help="folder of the corpus, where it needs one")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the feature files")

    networks = parser.add_argument_group("networks (one of --model, --settings and --checkpoint)")
    networks.add_argument("--model", nargs="+", help="Hub id, folder or torchvision:NAME; one, or one for each stream")
    networks.add_argument("--settings", type=Path, help="JSON file with all settings, as in features.json")
    networks.add_argument("--checkpoint", help="Hub id or folder of a localisation model with a feature_extractor")
    networks.add_argument(
        "--streams", nargs="+", choices=STREAMS, help="what the networks see, RGB first in a row (default: rgb)"
    )
    networks.add_argument("--weights", nargs="+", help="safetensors file of each torchvision model")
    networks.add_argument("--random_init_seed", type=int, help="give a torchvision model random weights, for trials")
    networks.add_argument("--revision", help="branch, tag or commit of the Hub id")
    networks.add_argument(
        "--pooling",
        choices=POOLINGS,
        help="mean or maximum of the last hidden state, or what the classification head receives",
    )

    pictures = parser.add_argument_group("pictures (default: what the repository of the model says)")
    pictures.add_argument("--num_frames", type=int, help="frames of a snippet that the network sees")
    pictures.add_argument("--size", type=int, help="shorter side that frames are resized to, in pixels")
    pictures.add_argument("--crop_size", type=int, help="side of the central square that is cut out, in pixels")
    pictures.add_argument("--image_mean", type=float, nargs=3, help="mean of RGB, on the scale of 0 to 1")
    pictures.add_argument("--image_std", type=float, nargs=3, help="standard deviation of RGB")
    pictures.add_argument("--flow_bound", type=float, help="pixels per frame at which flow is clipped (default: 20)")

    time_axis = parser.add_argument_group("time")
    time_axis.add_argument("--frames_per_second", type=float, help="rate at which videos are read (default: 25)")
    time_axis.add_argument("--frames_per_snippet", type=int, help="frames that one row describes (default: 16)")
    time_axis.add_argument("--snippet_stride", type=int, help="frames from one row to the next (default: 16)")

    running = parser.add_argument_group("running")
    running.add_argument("--num_processes", type=int, default=1, help="processes that share the videos (default: 1)")
    running.add_argument("--batch_size", type=int, default=8, help="snippets in one forward pass (default: 8)")
    running.add_argument(
        "--mixed_precision",
        choices=PRECISIONS,
        help="bf16: compute in bfloat16, faster on GPUs and on CPUs with AMX; rows are float32 and differ in the "
        "third digit (default: no, or what the settings say)",
    )
    running.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    running.add_argument(
        "--max_failed",
        type=float,
        default=0.1,
        help="share of unreadable videos that is still a success (default: 0.1)",
    )
    return parser.parse_args(argv)


def read_videos(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the source of every video by its id."""
    from ..data.features.feature_folders import find_videos, videos_of_corpus

    if arguments.videos is not None:
        return find_videos(arguments.videos)
    from ..data.corpora import load_corpus

    return videos_of_corpus(load_corpus(arguments.dataset_name, data_dir=arguments.data_dir))


def make_extractor(arguments: argparse.Namespace) -> "SnippetFeatureExtractor":
    """Make the extractor that the command line describes.

    Raises:
        ValueError: for options that contradict each other.
    """
    from accelerate import PartialState

    from ..data.features.feature_extraction import SnippetFeatureExtractor
    from ..data.features.feature_folders import read_extractor_settings
    from .opened_models import existing_device
    from .task_options import read_config

    sources = [name for name in ("model", "settings", "checkpoint") if getattr(arguments, name) is not None]
    if len(sources) != 1:
        raise ValueError(f"give one of --model, --settings and --checkpoint, got {' and '.join(sources) or 'none'}")
    device = existing_device(arguments.device or PartialState().device)
    running = {
        "batch_size": arguments.batch_size,
        "device": device,
        "mixed_precision": arguments.mixed_precision,
    }
    if sources == ["model"]:
        timing = {name: value for name in TIMING_OPTIONS if (value := getattr(arguments, name)) is not None}
        return SnippetFeatureExtractor(stream_settings(arguments), **timing, **running)
    own = (*TIMING_OPTIONS, *STREAM_OPTIONS, "streams", "weights", "image_mean", "image_std", "flow_bound")
    contradicting = [name for name in own if getattr(arguments, name) is not None and name != "revision"]
    if contradicting:
        raise ValueError(f"--{contradicting[0]} is for --model; with --{sources[0]} it is part of the settings")
    if sources == ["checkpoint"]:
        revision = {"revision": arguments.revision} if arguments.revision else {}
        config = read_config(arguments.checkpoint, **revision)
        return SnippetFeatureExtractor.from_checkpoint(arguments.checkpoint, config, **running, **revision)
    return SnippetFeatureExtractor.from_dict(read_extractor_settings(arguments.settings), **running)


def stream_settings(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Give the settings of each stream, as `SnippetFeatureExtractor` takes them."""
    streams = arguments.streams or ["rgb"]
    each = {name: getattr(arguments, name) for name in STREAM_OPTIONS}
    settings = {}
    for stream, model, weights in zip(
        streams,
        _one_each("model", arguments.model, streams),
        _one_each("weights", arguments.weights or [None], streams),
        strict=True,
    ):
        settings[stream] = {**each, "model": model, "weights": weights}
    own = {"rgb": ("image_mean", "image_std"), "flow": ("flow_bound",)}
    for stream, names in own.items():
        given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
        if given and stream not in settings:
            raise ValueError(f"--{next(iter(given))} is for the {stream} stream; add it to --streams")
        settings.get(stream, {}).update(given)
    return settings


def describe(extractor: "SnippetFeatureExtractor") -> str:
    """Say in one line what will be extracted."""
    streams = []
    for stream, settings in extractor.streams.items():
        network = settings.model or settings.subfolder or f"random {settings.model_config['model_type']}"
        streams.append(f"{stream} by {network} ({settings.num_frames} frames of {settings.crop_size} pixels)")
    return (
        f"{' and '.join(streams)}, {extractor.feature_size} numbers for {extractor.frames_per_snippet} frames every "
        f"{extractor.snippet_stride} at {extractor.frames_per_second:g} fps, on {extractor.device}"
        f"{'' if extractor.mixed_precision is None else ' in bfloat16'}"
    )


def format_report(report: "ExtractionReport", videos: Mapping[str, Any], extractor: "SnippetFeatureExtractor") -> str:
    """Give a table of the first videos, and every unreadable one with the reason."""
    step = extractor.snippet_stride / extractor.frames_per_second
    rows = [("video", "duration", "rows", "rows span")]
    for video_id, count in list(report.num_rows.items())[:TABLE_ROWS]:
        rows.append((video_id, _duration(videos[video_id]), str(count), f"{count * step:.2f} s"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    if len(report.num_rows) > TABLE_ROWS:
        lines.append(f"... and {len(report.num_rows) - TABLE_ROWS} more")
    lines += [f"unreadable: {video_id}: {reason}" for video_id, reason in report.failures.items()]
    return "\n".join(lines)


def _duration(source: Any) -> str:
    """Length of a video as it says itself; features that were there before may have outlived their video."""
    from ..processing.decoding import UnreadableVideoError, probe_video

    try:
        seconds = probe_video(source).duration
    except (UnreadableVideoError, OSError):
        return "gone"
    return "untimed" if seconds != seconds else f"{seconds:.2f} s"


def _one_each(option: str, values: Sequence[Any], streams: Sequence[str]) -> list[Any]:
    if len(values) not in (1, len(streams)):
        raise ValueError(f"--{option} takes one value or one for each of the streams {streams}, got {len(values)}")
    return list(values) * len(streams) if len(values) == 1 else list(values)
