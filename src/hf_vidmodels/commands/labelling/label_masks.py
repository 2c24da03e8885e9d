"""`hf-vidmodels label`: the boxes of a COCO file and their pictures to the same file with masks.

Portions of the plan are shared among processes. Pictures are read and crops cut by data-loading workers, each picture
once; what the network finds goes to the journal, and from there to the output when all is done.
"""

import argparse
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ...atomic_io import read_json_object, write_json
from ...data.instances.coco_instances import read_instance_file
from ...data.instances.object_boxes import BOX_RULES
from ...data.instances.youtube_vis import is_video_file
from ...data.json_streams import stream_json_list, stream_json_object
from ...metrics.mask_average_precision import coco_average_precision
from ...metrics.mask_quality import compare_annotations
from ...modeling.ops.run_length_masks import empty_rle
from ...output_files import refuse_inputs_as_outputs
from ...text_tables import print_table
from ...training.launch import WAIT_FOR_MAIN_PROCESS, check_processes
from ..opened_models import existing_device
from .labelled_file import LabelledFile
from .labelling_journal import (
    JournalReader,
    JournalWriter,
    begin_journal,
    is_begun,
    next_record_name,
    only_run_on,
    refuse_other_settings,
)
from .labelling_network import Labeler, PortionCrops, describe_labeler, load_labeler
from .labelling_overlays import draw_labelled_pictures
from .labelling_plan import LabellingPlan, drop_reason, make_plan

NUM_NAMED_IDS = 5
WORKERS_BESIDE_GPU = 4
# Share of masks as large as their boxes from which on the network is doubted.
MOST_FULL_BOXES = 0.5


def label_masks(arguments: argparse.Namespace) -> None:
    """Make the masks, or those that are still missing, and write the output.

    Raises:
        FileNotFoundError: a file or pictures are missing.
        ValueError: the input does not fit (names the annotation), the output or journal there is has other settings,
            or pictures could not be read; the masks of the others then stay in the journal.
        OSError: something cannot be written.
    """
    on_cpu = arguments.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu=on_cpu, timeout=WAIT_FOR_MAIN_PROCESS)
    check_processes(state.num_processes)
    check_arguments(arguments)
    device = existing_device(arguments.device or state.device)
    if device.type == "cpu":
        # Another number of threads may change the last bits, so it does not follow from the number of processes.
        torch.set_num_threads(arguments.threads)
    labeler = load_labeler(arguments, device)
    settings = describe_labeler(labeler, arguments)
    if arguments.evaluate:
        require_true_masks(arguments.annotations)
    folder = journal_folder(arguments.output)
    with ExitStack() as stack:
        if state.is_main_process:
            stack.enter_context(only_run_on(folder))
        state.wait_for_everyone()
        finished = is_finished(arguments, settings)
        state.wait_for_everyone()
        if finished:
            state.print(f"{arguments.output} is there already, with these settings")
            if arguments.evaluate and state.is_main_process:
                dropped_ids = read_json_object(report_file(arguments.output), "the report of a run")["dropped_ids"]
                print_table(("", "number"), metric_rows(measure(arguments, dropped_ids)))
            return
        plan = plan_of(arguments, labeler)
        if state.is_main_process:
            begin_journal(folder, settings, restart=arguments.restart)
        state.wait_for_everyone()
        speed = label_portions(state, plan, labeler, folder, arguments)
        if state.is_main_process:
            finish(plan, folder, arguments, settings, speed)


def plan_of(arguments: argparse.Namespace, labeler: Labeler) -> LabellingPlan:
    """Make the plan that the command line asks for.

    Raises:
        FileNotFoundError, ValueError: as `make_plan`, and for options that files of videos do not have.
    """
    plan = make_plan(
        arguments.annotations,
        arguments.images,
        detections=arguments.score_boxes,
        min_side=labeler.processor.min_side,
        batch_size=arguments.batch_size,
        skip_invalid=arguments.skip_invalid,
    )
    if plan.is_video and arguments.dropped != "leave_out":
        raise ValueError(f"--dropped {arguments.dropped} is for pictures; a frame whose box was dropped has no mask")
    return plan


def label_portions(
    state: PartialState, plan: LabellingPlan, labeler: Labeler, folder: Path, arguments: argparse.Namespace
) -> float:
    """Label this process's share of the portions that the journal lacks; wait for the others.

    Returns:
        Masks per second of all processes together; NaN when nothing was left to do.
    """
    journal = JournalReader(folder, len(plan.file), plan.num_portions)
    journal.close()
    missing = np.flatnonzero(~(journal.closed if arguments.skip_unreadable else journal.complete))
    name = next_record_name(folder, state.process_index)
    # Nobody writes before all have read.
    state.wait_for_everyone()
    mine = missing[state.process_index :: state.num_processes].tolist()
    num_workers = arguments.num_workers
    if num_workers is None:
        num_workers = WORKERS_BESIDE_GPU if labeler.model.device.type == "cuda" else 0
    loader = DataLoader(
        PortionCrops(plan, labeler.processor),
        batch_size=None,
        sampler=mine,
        num_workers=num_workers if mine else 0,
    )
    sizes = np.diff(plan.portion_starts)
    started = time.perf_counter()
    share = f" of process 1 of {state.num_processes}" if state.num_processes > 1 else ""
    with tqdm(
        total=int(sizes[mine].sum()), unit="mask", desc=f"masks{share}", disable=not state.is_main_process
    ) as bar:
        writer = JournalWriter(folder, name) if mine else None
        for portion in loader:
            writer.append(portion.number, labeler.label(portion))
            bar.update(int(sizes[portion.number]))
        if writer is not None:
            writer.close()
    state.wait_for_everyone()
    masks = int(sizes[missing].sum())
    return masks / (time.perf_counter() - started) if masks else float("nan")


def finish(
    plan: LabellingPlan, folder: Path, arguments: argparse.Namespace, settings: Mapping[str, Any], speed: float
) -> None:
    """Write the output from the journal, draw, report, and remove the journal.

    Raises:
        ValueError: pictures could not be read and their boxes are not to be left out.
    """
    journal = JournalReader(folder, len(plan.file), plan.num_portions)
    if journal.unreadable and not arguments.skip_unreadable:
        row, reason = min(journal.unreadable.items())
        raise ValueError(
            f"the pictures of {len(journal.unreadable)} boxes could not be used, first that of annotation "
            f"{plan.file.ids[row]}: {reason}; mend them and start again, which redoes these alone, or leave their "
            "boxes out with --skip_unreadable"
        )
    output = arguments.output
    labelled = LabelledFile(
        plan,
        journal,
        arguments.annotations,
        arguments.score_boxes,
        area=arguments.area,
        dropped=arguments.dropped,
    )
    written = [output]
    if arguments.score_boxes is not None:
        written.append(results_file(output))
        labelled.write_results(written[-1])
    labelled.write(output)
    sheet = sheet_file(output)
    if draw_labelled_pictures(plan, journal, sheet, arguments.num_overlays):
        written.append(sheet)
    journal.close()
    metrics = measure(arguments, labelled.dropped_ids) if arguments.evaluate else {}
    report = {
        "settings": all_settings(arguments, settings),
        "pictures": len(plan.paths),
        "boxes": len(plan.file),
        **labelled.counts,
        "mask_share_of_boxes": labelled.mask_pixels / labelled.box_pixels if labelled.box_pixels else None,
        "dropped_ids": labelled.dropped_ids,
        "metrics": metrics,
    }
    write_json(report_file(output), report)
    shutil.rmtree(folder)
    print_summary(plan, labelled, arguments, speed, metrics)
    print(f"\nwrote {', '.join(map(str, [*written, report_file(output)]))}")


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise ValueError for options out of their range, or an output that would replace the input."""
    for name, least in (("batch_size", 1), ("threads", 1), ("num_workers", 0), ("num_overlays", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    if arguments.threshold is not None and not all(0 <= value < 1 for value in arguments.threshold):
        raise ValueError(f"--threshold must be probabilities in [0, 1), got {arguments.threshold}")
    if not all(0 < scale < math.inf for scale in arguments.scales):
        raise ValueError(f"--scales must be positive factors of the crop size, got {arguments.scales}")
    if arguments.output.suffix != ".json":
        raise ValueError(f"--output must end in .json, got {arguments.output}")
    output = arguments.output
    outputs = [output, report_file(output), results_file(output), sheet_file(output), journal_folder(output)]
    refuse_inputs_as_outputs(outputs, [arguments.annotations, arguments.score_boxes, arguments.model])


def is_finished(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> bool:
    """Tell whether the output is there, made with the same settings.

    Raises:
        ValueError: the output is there but is something else.
    """
    output, report = arguments.output, report_file(arguments.output)
    if arguments.restart or not output.exists() or is_begun(journal_folder(output)):
        return False
    if not report.is_file():
        raise ValueError(f"{output} is there already, but not from a run of this script; give another --output")
    before = read_json_object(report, "the report of a labelling run").get("settings", {})
    refuse_other_settings(before, all_settings(arguments, settings), str(output))
    return True


def all_settings(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the output depends on beyond the masks."""
    return {**settings, "area": arguments.area, "dropped": arguments.dropped}


def require_true_masks(path: Path) -> None:
    """Raise ValueError when an annotation has no mask to score with, or one that is no mask, or a picture no size."""
    if is_video_file(path):
        raise ValueError(f"--evaluate scores masks of pictures, but {path} has videos")
    for key, items in stream_json_object(path, ("images", "annotations")):
        if key != "images":
            continue
        unsized = next((item for item in items if not (item.get("height") and item.get("width"))), None)
        if unsized is not None:
            raise ValueError(
                f"--evaluate needs height and width of every picture, but {unsized.get('id')} in {path} lacks them"
            )
    file = read_instance_file(path, with_masks=True, unique_names=False)
    without = next((id for id, rle in zip(file.ids.tolist(), file.rles, strict=True) if rle is None), None)
    if without is not None:
        raise ValueError(f"--evaluate needs true masks, but annotation {without} in {path} has none")


def measure(arguments: argparse.Namespace, dropped_ids: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Score the masks against those that the annotation file has, whatever `--dropped` says.

    Every object counts, one without a mask with an IoU of zero; only boxes that cannot be right, which
    `--skip_invalid` drops, are left out. An empty mask is a prediction that meets nothing, as for the official code.
    That one does not see boxes of the sizes that get no mask; where there are such, `mIoU_official_sizes` is without
    them.

    Args:
        arguments: the command line.
        dropped_ids: ids of the boxes without a mask by rule of `DROP_RULES`.
    """
    truth = read_json_object(arguments.annotations, "a COCO instance file")
    output = read_json_object(arguments.output, "a COCO instance file")["annotations"]
    without = {id for ids in dropped_ids.values() for id in ids}
    faulty = {id for rule in BOX_RULES for id in dropped_ids[rule]}
    answers = {int(item["id"]): item for item in output if int(item["id"]) not in without}
    given = truth["annotations"]
    if arguments.score_boxes is not None:
        given = [
            {**item, "id": number} for number, item in enumerate(stream_json_list(arguments.score_boxes), start=1)
        ]
    given = [item for item in given if int(item["id"]) not in faulty]
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    empty = {id: empty_rle(*size) for id, size in sizes.items()}
    predictions = [
        answers.get(int(item["id"]), {**item, "segmentation": empty[item["image_id"]]})
        for item in given
        if int(item["id"]) in answers or int(item["id"]) in dropped_ids["empty_mask"]
    ]
    if arguments.score_boxes is not None:
        return {
            "segm": coco_average_precision(predictions, truth, "segm"),
            "bbox": coco_average_precision(given, truth, "bbox"),
        }
    truth["annotations"] = given
    quality, _ = compare_annotations(predictions, truth, count_missing=True)
    official = {}
    if dropped_ids["too_small"] or dropped_ids["too_large"]:
        official = {"mIoU_official_sizes": compare_annotations(predictions, truth)[0].mean_iou}
    precision = coco_average_precision([{**item, "score": None} for item in predictions], truth)
    return quality.to_metrics() | official | precision


def print_summary(
    plan: LabellingPlan,
    labelled: LabelledFile,
    arguments: argparse.Namespace,
    speed: float,
    metrics: Mapping[str, Any],
) -> None:
    """Print what became of the boxes, how fast, and the metrics."""
    rows = [
        ("pictures", str(len(plan.paths)), ""),
        ("boxes", str(len(plan.file)), ""),
        ("labelled", str(labelled.counts["labelled"]), ""),
    ]
    fates = {"leave_out": "left out", "ignore": "kept to be ignored", "box": "kept as boxes", "empty": "left out"}
    for rule, ids in labelled.dropped_ids.items():
        if ids:
            kept = "kept" if arguments.dropped == "empty" and rule == "empty_mask" else fates[arguments.dropped]
            named = ", ".join(map(str, ids[:NUM_NAMED_IDS])) + (", ..." if len(ids) > NUM_NAMED_IDS else "")
            reason = drop_reason(rule, plan.min_side)
            rows.append((f"{kept}, {rule}", str(len(ids)), f"{reason}: {named}"))
    if labelled.box_pixels:
        rows.append(("mask area", f"{labelled.mask_pixels / labelled.box_pixels:.1%}", "of the boxes"))
    if speed == speed:
        rows.append(("speed", f"{speed:.1f}", "masks per second"))
    rows += [(*cells, "") for cells in metric_rows(metrics)]
    print()
    print_table(("", "number", ""), rows)
    if labelled.full_boxes > MOST_FULL_BOXES * labelled.counts["labelled"]:
        print(
            f"\nwarning: {labelled.full_boxes} of {labelled.counts['labelled']} masks are as large as their boxes; "
            "unless the objects are, the network is untrained or broken, so look at the drawings first"
        )


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give the lines of the printed table for metrics, which may be grouped by kind of IoU."""
    rows = []
    for name, value in metrics.items():
        shown = value if isinstance(value, dict) else {"": value}
        rows += [(f"{name} {key}".strip(), "none" if x is None else f"{x:.4f}") for key, x in shown.items()]
    return rows


def journal_folder(output: Path) -> Path:
    """Give the folder of the journal of an output."""
    return output.with_name(f"{output.name}.journal")


def results_file(output: Path) -> Path:
    """Give the file that the masks of detections alone go to."""
    return output.with_name(f"{output.stem}.results.json")


def sheet_file(output: Path) -> Path:
    """Give the picture of a few labelled pictures."""
    return output.with_name(f"{output.stem}.overlays.jpg")


def report_file(output: Path) -> Path:
    """Give the file that says how an output was made and what was dropped."""
    return output.with_name(f"{output.stem}.report.json")
