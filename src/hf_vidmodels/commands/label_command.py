"""Make instance masks from boxes: a COCO annotation file and a folder of pictures in, the same file with masks out.

    hf-vidmodels label --model runs/mal --annotations boxes.json --images pictures --output masks.json
    hf-vidmodels label --num_processes 8 --model org/mal-vit-mae-base --dtype bfloat16 \\
        --annotations annotations/instances_train2017.json --images train2017 --output masks_train2017.json

Any segmenter that reads COCO files trains on the output: every annotation keeps its fields and gets `segmentation`
(compressed RLE), `score` (mean probability inside the mask) and the `area` of the mask. Beside it are written
masks.report.json (settings, what was dropped and why) and masks.overlays.jpg (a few pictures with their masks).

Stopped at any moment and called again, it goes on where it was, also with another number of processes, and ends in the
same file to the last byte. What it has is in masks.json.journal until then. Other settings than it was begun with are
refused; --restart begins anew.

Boxes with a side of at most 2 pixels get no mask, nor do those whose mask is empty. They are counted and listed, and
left out of the output unless --dropped says otherwise. With --score_boxes the boxes of a detector (COCO results) take
the place of the annotations; masks.results.json then has the masks as COCO results too. The annotations may also be a
file of YouTube-VIS: its frames are labelled, and `segmentations` has a mask or null for each.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..command_line import command_parser, quiet_libraries

# What `area` of an annotation is of, and what becomes of annotations without a mask.
AREA_CHOICES = ("mask", "box")
DROPPED_CHOICES = ("leave_out", "ignore", "box", "empty")
DTYPES = ("float32", "bfloat16", "float16")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and label."""
    arguments = parse_arguments(argv)
    quiet_libraries()
    from .labelling.label_masks import label_masks

    label_masks(arguments)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("label", __doc__)
    parser.add_argument("--model", required=True, help="folder of a finished run, or Hub id")
    parser.add_argument("--annotations", required=True, type=Path, help="COCO instance file; only boxes are read")
    parser.add_argument("--images", required=True, type=Path, help="folder of its pictures")
    parser.add_argument("--output", required=True, type=Path, help="the file with masks, ends in .json")
    parser.add_argument("--score_boxes", type=Path, help="COCO results of a detector whose boxes are labelled instead")

    masks = parser.add_argument_group("masks")
    masks.add_argument("--network", help="which answers: student, teacher or mixed (default: as the checkpoint says)")
    masks.add_argument("--flip", action="store_true", help="take the mean with the mirror image; twice the time")
    masks.add_argument(
        "--scales", type=float, nargs="+", default=[1.0], help="sizes of the crop whose mean is taken (default: 1)"
    )
    masks.add_argument(
        "--threshold", type=float, nargs="+", help="probability of a mask's pixels: one, or of small, medium and large"
    )
    masks.add_argument("--clip_to_box", action="store_true", help="cut masks at their boxes")

    output = parser.add_argument_group("output")
    output.add_argument("--area", choices=AREA_CHOICES, default="mask", help="what `area` is of (default: mask)")
    output.add_argument(
        "--dropped",
        choices=DROPPED_CHOICES,
        default="leave_out",
        help="annotations without a mask: left out, kept with ignore and iscrowd, or with their box as polygon; empty "
        "keeps those whose mask is empty as the official code does and leaves out the others",
    )
    output.add_argument("--num_overlays", type=int, default=9, help="pictures in the sheet (default: 9)")
    output.add_argument(
        "--evaluate",
        action="store_true",
        help="score the masks against those in the annotation file; every object counts",
    )

    running = parser.add_argument_group("running")
    running.add_argument("--batch_size", type=int, default=8, help="crops in one forward pass (default: 8)")
    running.add_argument("--num_workers", type=int, help="processes that cut crops (default: 4 with a GPU, else 0)")
    running.add_argument("--dtype", choices=DTYPES, default="float32", help="of the network (default: float32)")
    running.add_argument("--device", help="cpu, cuda, ... (default: cuda where there is one)")
    running.add_argument("--threads", type=int, default=1, help="threads of each process on a CPU (default: 1)")
    running.add_argument("--skip_invalid", action="store_true", help="drop boxes that cannot be right, do not refuse")
    running.add_argument("--skip_unreadable", action="store_true", help="drop boxes whose picture cannot be read")
    running.add_argument("--restart", action="store_true", help="throw away what an earlier run left")
    return parser.parse_args(argv)
