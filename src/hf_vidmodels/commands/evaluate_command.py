"""Score a trained model on a split of a corpus by its task's metrics.

Prints the table and writes metrics.json, predictions.json and pictures. For temporal action localisation these are the
mAP of every step, the segments (ActivityNet results form) and a sheet of timelines:
    hf-vidmodels evaluate --model runs/asm_loc --corpus embedded/untrimmed --split test --output_dir evaluation
    hf-vidmodels evaluate --model org/asm-loc-thumos --corpus thumos14 --data_dir thumos --split test \
        --output_dir evaluation

A corpus of videos without features is scored too when the checkpoint carries its feature extractor.

For video classification: accuracies over all views of each video, hard and soft selection, GFLOPs and clips a second,
and film strips of what a selecting network kept:
    hf-vidmodels evaluate --model runs/stts --corpus embedded/clips --output_dir evaluation
    hf-vidmodels evaluate --model org/stts-mvit --corpus kinetics400 --data_dir kinetics --split val \
        --num_views 10 --output_dir evaluation

For mask labelling: the mean IoU and COCO's AP of masks made from the true boxes:
    hf-vidmodels evaluate --model runs/mal --corpus embedded/boxes --output_dir evaluation
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging

from ..atomic_io import write_json
from ..command_line import command_parser
from ..evaluation.evaluate_masks import score_masks
from ..evaluation.evaluate_segments import score_segments
from ..evaluation.evaluate_video_classes import score_video_classes
from ..optional_packages import require
from ..output_files import refuse_inputs_as_outputs
from ..training.run_files import format_tables, results_record
from ..visualization.figures import save_figure
from .model_tasks import refuse_options_of_other_tasks, runnable_task
from .opened_models import open_model

# What scores a model, by its task: (model, command line) -> Evaluation.
TASKS = {
    "temporal-action-localization": score_segments,
    "video-classification": score_video_classes,
    "mask-labeling": score_masks,
}
# Options that not every task takes.
TASKS_OF_OPTION = {
    "feature_processes": ("temporal-action-localization",),
    "num_views": ("video-classification",),
    "num_crops": ("video-classification",),
    "media_dir": ("video-classification",),
    "skip_missing_files": ("video-classification",),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, run the model over the split and report."""
    arguments = parse_arguments(argv)
    inputs = [arguments.model, arguments.corpus, arguments.data_dir, arguments.media_dir]
    refuse_inputs_as_outputs([arguments.output_dir], inputs)
    require("matplotlib", "drawing what an evaluation found")
    logging.disable_progress_bar()
    task = runnable_task(arguments.model, TASKS)
    refuse_options_of_other_tasks(arguments, task, TASKS_OF_OPTION)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = open_model(arguments.model, device)
    evaluation = TASKS[task](model, arguments)
    print(f"\n{format_tables(evaluation.tables)}\n")
    write_json(arguments.output_dir / "metrics.json", results_record(task, arguments.corpus, evaluation))
    if evaluation.predictions is not None:
        write_json(arguments.output_dir / "predictions.json", evaluation.predictions)
    for stem, figure in evaluation.figures.items():
        save_figure(figure, arguments.output_dir / f"{stem}.png")
    print(f"{', '.join(sorted(path.name for path in arguments.output_dir.iterdir()))} are in {arguments.output_dir}")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("evaluate", __doc__)
    parser.add_argument("--model", required=True, help="folder of a finished run, or Hub id")
    parser.add_argument("--corpus", required=True, help="as dataset_name of hf-vidmodels train")
    parser.add_argument("--data_dir", help="folder of the corpus's files, for published corpora")
    parser.add_argument("--media_dir", help="folder of the videos of a published list, where that is not data_dir")
    parser.add_argument(
        "--skip_missing_files", action="store_true", help="leave out videos of a published list that are not there"
    )
    parser.add_argument("--split", default="test", help="split to score (default: test)")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the results, made when missing")
    parser.add_argument("--batch_size", type=int, default=8, help="examples or clips in one forward pass (default: 8)")
    parser.add_argument("--feature_processes", type=int, help="processes that make features (default: 1)")
    parser.add_argument("--num_views", type=int, help="views of each video in time (default: the model's protocol)")
    parser.add_argument("--num_crops", type=int, help="crops of each view, 1 or 3 (default: the model's protocol)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    return parser.parse_args(argv)
