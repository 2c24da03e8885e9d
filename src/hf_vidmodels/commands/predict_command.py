"""Run a trained model on a file or a folder; draw what it finds, by the task that the model is for.

Temporal action localisation: videos or feature files (.npy, .npz, .h5) in; predictions.json (ActivityNet results
form), and for every video a timeline NAME.png and a page NAME.html that plays the video over its timeline. In a
folder, a feature file with the name of a video is taken as its features: this is how a checkpoint without a feature
extractor of its own is shown videos.
    hf-vidmodels predict --model runs/asm_loc --input match.mp4 --output_dir predictions
    hf-vidmodels predict --model org/asm-loc-thumos --input features --output_dir predictions --threshold 0.1

Video classification: videos in; predictions.json and for every video a film strip NAME.png. Of a model that selects
tokens it shows what the model kept, and NAME.mp4 shows that moving.
    hf-vidmodels predict --model runs/stts --input videos --output_dir predictions --top_k 3

Attention localisation: pictures in; contact_sheet.png (picture, heat map and box for each class; a further sheet for
every 20 pictures) and attention.json. Any image classifier of transformers or timm can be shown that way:
    hf-vidmodels predict --method l2_caf --model microsoft/resnet-50 --input pictures --output_dir attention \
        --objective centered --top_k 3

Mask labelling: pictures in, and a file of their boxes; masks.json (compressed RLE) and for every picture a drawing of
its masks, NAME.masks.png. Without boxes the whole picture is one. Whole COCO files: hf-vidmodels label.
    hf-vidmodels predict --model runs/mal --input pictures --boxes boxes.json --output_dir masks

A file that cannot be read is reported and passed over; the exit status is then 2 at the end.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers.utils import logging

from ..command_line import command_parser
from ..configuration.configuration_l2_caf import OBJECTIVES
from ..output_files import refuse_inputs_as_outputs
from .input_files import find_pictures
from .model_tasks import refuse_options_of_other_tasks, runnable_task
from .predict_attention import explain_pictures
from .predict_masks import label_pictures
from .predict_segments import find_sources, localize_actions
from .predict_video_classes import classify_videos, find_classified_videos


class Prediction(NamedTuple):
    """How the inputs of a task are found by id, and what runs a checkpoint on them."""

    find: Callable[[Path], Mapping[str, Any]]
    predict: Callable[[argparse.Namespace, Mapping[str, Any]], None]


TASKS = {
    "temporal-action-localization": Prediction(find_sources, localize_actions),
    "attention-localization": Prediction(find_pictures, explain_pictures),
    "video-classification": Prediction(find_classified_videos, classify_videos),
    "mask-labeling": Prediction(find_pictures, label_pictures),
}
# Options that not every task takes.
TASKS_OF_OPTION = {
    "embed_video": ("temporal-action-localization",),
    "objective": ("attention-localization",),
    "classes": ("attention-localization",),
    "num_views": ("video-classification",),
    "num_crops": ("video-classification",),
    "boxes": ("mask-labeling",),
    "top_k": ("temporal-action-localization", "attention-localization", "video-classification"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and predict by the model's task."""
    arguments = parse_arguments(argv)
    refuse_inputs_as_outputs([arguments.output_dir], [arguments.input, arguments.model, arguments.boxes])
    logging.disable_progress_bar()
    task = "attention-localization" if arguments.method == "l2_caf" else runnable_task(arguments.model, TASKS)
    refuse_options_of_other_tasks(arguments, task, TASKS_OF_OPTION)
    if arguments.top_k is not None and arguments.top_k < 1:
        raise ValueError(f"--top_k must be at least 1, got {arguments.top_k}")
    TASKS[task].predict(arguments, TASKS[task].find(arguments.input))


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("--model", required=True, help="folder of a finished run, or Hub id")
    parser.add_argument("--input", required=True, type=Path, help="a file, or a folder of them, as the task wants")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the results, made when missing")
    parser.add_argument("--threshold", type=float, help="leave out what scores lower (default: keep all)")
    parser.add_argument("--top_k", type=int, help="keep so many results of each input at most (default: all)")
    parser.add_argument("--embed_video", action="store_true", help="put the video into its page (default: link to it)")
    parser.add_argument("--method", choices=["l2_caf"], help="show where any image classifier looks, by this method")
    parser.add_argument("--objective", choices=OBJECTIVES, help="of the attention (default: class_specific)")
    parser.add_argument("--classes", nargs="+", help="class names or ids to explain (default: the best TOP_K, or 1)")
    parser.add_argument(
        "--num_views", type=int, help="views in time of each video (default: the model's test protocol)"
    )
    parser.add_argument("--num_crops", type=int, choices=(1, 3), help="crops of each view (default: likewise)")
    parser.add_argument(
        "--boxes", type=Path, help="COCO instance file, or JSON with the boxes xyxy of each picture by its name"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    return parser.parse_args(argv)
