"""Run a trained model on a file or a folder; draw what it finds, by the task that the model is for.

Temporal action localisation: videos or feature files (.npy, .npz, .h5) in; predictions.json (ActivityNet results
form), and for every video a timeline NAME.png and a page NAME.html that plays the video over its timeline. In a
folder, a feature file with the name of a video is taken as its features: this is how a checkpoint without a feature
extractor of its own is shown videos. With --truth the true segments of a corpus are drawn beside what was found.
    hf-vidmodels predict --model runs/asm_loc --input match.mp4 --output_dir predictions
    hf-vidmodels predict --model org/asm-loc-thumos --input features --output_dir predictions --threshold 0.1

Video classification: videos in; predictions.json and for every video a film strip NAME.png. Of a model that selects
tokens it shows what the model kept, and NAME.mp4 shows that moving.
    hf-vidmodels predict --model runs/stts --input videos --output_dir predictions --top_k 3

Image classification, of this package or of transformers: pictures in; predictions.json and classes.png, a sheet of the
pictures with their best classes (a further one for every 20 pictures).
    hf-vidmodels predict --model microsoft/resnet-50 --input pictures --output_dir predictions --top_k 3

Object localisation: pictures in; contact_sheet.png (picture, heat map and box for each class; a further sheet for
every 20 pictures) and attention.json. Any image classifier of transformers or timm can be shown that way:
    hf-vidmodels predict --method l2_caf --model microsoft/resnet-50 --input pictures --output_dir attention \
        --objective centered --top_k 3

Action detection: films in (files, folders of frames, AVA's folders of seconds); predictions.json with the people at
every full second, their boxes, numbers and actions from a score of 0.4 on, and for every film NAME.csv (all detections
in AVA's form), NAME.mp4 (the film with people, actions and its sound), NAME.png (stills) and NAME.html (the film over
a timeline of each person). A model that finds nobody itself is given boxes of people:
    hf-vidmodels predict --model runs/step --input film.mp4 --output_dir predictions --threshold 0.5
    hf-vidmodels predict --model org/slowfast-ava --input film.mp4 --output_dir predictions --proposals people.csv

Mask labelling: pictures in, and a file of their boxes; masks.json (compressed RLE) and for every picture a drawing of
its masks, NAME.masks.png. Without boxes the whole picture is one. Whole COCO files: hf-vidmodels label.
    hf-vidmodels predict --model runs/mal --input pictures --boxes boxes.json --output_dir masks

Inputs are drawn beside the next ones, films in between. With --no_figures only what is found is written.

A file that cannot be read is reported and passed over; the exit status is then 2 at the end. The same command again
goes on where it was stopped (in a film, at the second where it was), and tries again what failed. Several processes
that `accelerate launch` or `--num_processes` starts share the files, each on its own device.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..command_line import command_parser, quiet_libraries
from ..optional_packages import require
from ..output_files import refuse_inputs_as_outputs
from ..tasks import TASKS, resolve
from .task_options import add_task_options, named_inputs, refuse_options_of_other_tasks, task_of_checkpoint

WORK = "predict"
# Shows where any image classifier looks, so that the checkpoint's own task does not matter.
TASK_OF_METHOD = {"l2_caf": "object-localization"}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and predict by the model's task."""
    arguments = parse_arguments(argv)
    from .own_process import join_processes

    refuse_inputs_as_outputs(
        [arguments.output_dir], [arguments.input, arguments.model, *named_inputs(arguments, WORK)]
    )
    if not arguments.input.exists():
        raise FileNotFoundError(f"there is no input {arguments.input}; name a file, or a folder of them")
    quiet_libraries()
    if arguments.method is None:
        task = task_of_checkpoint(arguments.model, WORK)
    else:
        task = TASKS[TASK_OF_METHOD[arguments.method]]
    refuse_options_of_other_tasks(arguments, task, WORK)
    if arguments.top_k is not None and arguments.top_k < 1:
        raise ValueError(f"--top_k must be at least 1, got {arguments.top_k}")
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 1:
        raise ValueError(f"--threshold must lie in [0, 1], as scores do, got {arguments.threshold}")
    if arguments.no_figures:
        for name in ("truth", "embed_video"):
            if getattr(arguments, name):
                raise ValueError(f"--{name} says how to draw, and --no_figures not to; leave one of them out")
    elif task.draws_with is not None:
        require(task.draws_with, "drawing predictions")
    accelerator, arguments.device = join_processes(arguments.device)
    inputs = resolve(task.find_inputs)(arguments.input)
    resolve(task.predict)(arguments, inputs, accelerator)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("--model", required=True, help="folder of a finished run, or Hub id")
    parser.add_argument("--input", required=True, type=Path, help="a file, or a folder of them, as the task wants")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the results, made when missing")
    parser.add_argument("--threshold", type=float, help="leave out what scores lower (default: keep all)")
    parser.add_argument(
        "--method", choices=sorted(TASK_OF_METHOD), help="show where any image classifier looks, by this method"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the process's own)")
    add_task_options(parser, WORK)
    return parser.parse_args(argv)
