"""Score a trained model on a split of a corpus by its task's metrics.

Prints the table and writes metrics.json, predictions.json and pictures. For temporal action localisation these are the
mAP of every step, the segments (ActivityNet results form) and a sheet of timelines:
    hf-vidmodels evaluate --model runs/asm_loc --dataset_name embedded/untrimmed --output_dir evaluation
    hf-vidmodels evaluate --model org/asm-loc-thumos --dataset_name thumos14 --data_dir thumos --split test \
        --output_dir evaluation

A corpus of videos without features is scored too when the checkpoint carries its feature extractor.

For video classification: accuracies over all views of each video, hard and soft selection, GFLOPs and clips a second,
and film strips of what a selecting network kept; of a network whose `problem_type` is multi_label_classification the
mean average precision over the classes:
    hf-vidmodels evaluate --model runs/stts --dataset_name embedded/clips --output_dir evaluation
    hf-vidmodels evaluate --model org/stts-mvit --dataset_name kinetics400 --data_dir kinetics --split val \
        --num_views 10 --output_dir evaluation

For image classification, of this package or of transformers: accuracies, and a sheet of pictures with their answers:
    hf-vidmodels evaluate --model runs/resnet --dataset_name pictures --split test --output_dir evaluation

For action detection: frame-mAP at the key times and, where the corpus numbers people, video-mAP of linked tubes, by
the rules of AVA, ACT or MultiSports:
    hf-vidmodels evaluate --model runs/step --dataset_name embedded/tubes --output_dir evaluation
    hf-vidmodels evaluate --model org/step-ucf24 --dataset_name ucf101_24 --data_dir ucf24 --rules act \
        --output_dir evaluation

For mask labelling: the mean IoU and COCO's AP of masks made from the true boxes:
    hf-vidmodels evaluate --model runs/mal --dataset_name embedded/boxes --output_dir evaluation

Several processes that `accelerate launch` or `--num_processes` starts share the examples, each on its own device; the
results are those of one process.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..atomic_io import write_json
from ..command_line import command_parser, quiet_libraries, whole_number_from
from ..optional_packages import require
from ..output_files import refuse_inputs_as_outputs
from ..tasks import resolve
from ..text_tables import format_tables
from ..visualization.figures import save_figure
from .task_options import add_task_options, named_inputs, refuse_options_of_other_tasks, task_of_checkpoint

WORK = "evaluate"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, run the model over the split and report."""
    arguments = parse_arguments(argv)
    from ..auto import AUTO_CLASSES
    from ..training.run_files import results_record
    from .opened_models import open_model
    from .own_process import join_processes

    inputs = [arguments.model, arguments.dataset_name, arguments.data_dir, *named_inputs(arguments, WORK)]
    refuse_inputs_as_outputs([arguments.output_dir], inputs)
    require("matplotlib", "drawing what an evaluation found")
    quiet_libraries()
    task = task_of_checkpoint(arguments.model, WORK)
    refuse_options_of_other_tasks(arguments, task, WORK)
    accelerator, device = join_processes(arguments.device)
    model = open_model(arguments.model, device, AUTO_CLASSES[task.name])
    evaluation = resolve(task.evaluate)(model, arguments, accelerator)
    if not accelerator.is_main_process:
        return
    print(f"\n{format_tables(evaluation.tables)}\n")
    record = results_record(task.name, arguments.dataset_name, evaluation)
    write_json(arguments.output_dir / "metrics.json", record)
    if evaluation.predictions is not None:
        write_json(arguments.output_dir / "predictions.json", evaluation.predictions)
    for stem, figure in evaluation.figures.items():
        save_figure(figure, arguments.output_dir / f"{stem}.png")
    print(f"{', '.join(sorted(path.name for path in arguments.output_dir.iterdir()))} are in {arguments.output_dir}")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("evaluate", __doc__)
    parser.add_argument("--model", required=True, help="folder of a finished run, or Hub id")
    parser.add_argument("--dataset_name", "--corpus", required=True, help="the corpus, as in hf-vidmodels train")
    parser.add_argument("--data_dir", help="folder of the corpus's files, for published corpora")
    parser.add_argument("--split", default="test", help="split to score (default: test)")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the results, made when missing")
    parser.add_argument(
        "--batch_size", type=whole_number_from(1), default=8, help="examples or clips in one forward pass (default: 8)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the process's own)")
    add_task_options(parser, WORK)
    return parser.parse_args(argv)
