"""How much of its mask AP does a segmenter keep when MAL's masks take the place of the true ones?

For every seed: train MAL on the boxes of embedded/boxes (recipe mal/embedded through scripts/train.py), label a larger
corpus of the same kind with it (scripts/label_masks.py), and train the same small Mask R-CNN (small_mask_rcnn.py) on
these masks, on the true ones, and on filled boxes. Prints the mask AP of each on the held-out test pictures and the
retention rate, mean over seeds. Exit status 1 when MAL's masks keep less than 90 % of the AP of the true ones.

    python benchmarks/claims_mal_phase2.py                                # 3 seeds
    python benchmarks/claims_mal_phase2.py --models runs/mal0 runs/mal1 --seeds 0 1
    python benchmarks/claims_mal_phase2.py --json phase2.json
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_mask_rcnn import mask_average_precision, train_segmenter

from hf_vidmodels.atomic_io import read_json_object, write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.data.coco_content import coco_content, write_instance_file
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.embedded import load_embedded_corpus
from hf_vidmodels.data.embedded_pictures import BOXES
from hf_vidmodels.metrics.mask_quality import compare_annotations, retention_rate
from hf_vidmodels.modeling.ops.run_length_masks import encode_masks

REPOSITORY = Path(__file__).resolve().parents[1]
CLAIMED_RETENTION = 90.0
SHOWN = ("AP", "AP50", "AP75")


def main() -> None:
    """Read the command line, run all seeds and print the table."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    test = load_corpus("embedded/boxes", split="test")
    held_out = coco_content(test), pictures_of(test)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, seed in enumerate(arguments.seeds):
            folder = Path(temporary) / str(seed)
            model = arguments.models[number] if arguments.models else train_labeler(folder / "mal", seed)
            rows.append(measure(model, seed, folder, held_out, arguments))
            print_row(rows[-1])
    print_means(rows)
    if arguments.json is not None:
        write_json(arguments.json, {"epochs": arguments.epochs, "pictures": arguments.pictures, "rows": rows})
    retention = float(np.mean([row["retention"] for row in rows]))
    print(f"\nretention rate {retention:.1f} %, claimed at least {CLAIMED_RETENTION:g} %")
    if retention < CLAIMED_RETENTION:
        sys.exit(1)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--models", nargs="+", help="trained MAL models, one for each seed (default: train them)")
    parser.add_argument("--pictures", type=int, default=1500, help="pictures that phase 2 trains on (default: 1500)")
    parser.add_argument("--epochs", type=int, default=6, help="of the segmenter (default: 6)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if arguments.models and len(arguments.models) != len(arguments.seeds):
        parser.error(f"give a model for each seed: {len(arguments.models)} models, {len(arguments.seeds)} seeds")
    return arguments


def train_labeler(folder: Path, seed: int) -> str:
    """Train MAL by its recipe on the boxes of the embedded corpus."""
    words = ["--recipe", "mal/embedded", "--output_dir", str(folder), "--seed", str(seed)]
    subprocess.run([sys.executable, str(REPOSITORY / "scripts" / "train.py"), *words], check=True)
    return str(folder)


def measure(
    model: str, seed: int, folder: Path, held_out: tuple[dict[str, Any], dict[int, np.ndarray]], arguments: Any
) -> dict[str, Any]:
    """Label the pictures of one seed, train the segmenter on each kind of masks, and score it.

    Returns:
        `mIoU` of the labelled masks, their `retention` rate and that of filled boxes, and the mask AP by kind.
    """
    parameters = replace(BOXES, splits=(("train", arguments.pictures),))
    corpus = load_embedded_corpus("boxes", seed=seed + 1, cache_dir=folder, split="train", parameters=parameters)
    images = write_instance_file(corpus, folder / "true.json")
    words = ["--model", model, "--annotations", folder / "true.json", "--images", images]
    words += ["--output", folder / "mal.json", "--batch_size", 32]
    subprocess.run([sys.executable, str(REPOSITORY / "scripts" / "label_masks.py"), *map(str, words)], check=True)
    true, labelled = (read_json_object(folder / name, "a COCO instance file") for name in ("true.json", "mal.json"))
    pictures = pictures_of(corpus)
    precision = {}
    for kind, content in {"true": true, "mal": labelled, "box": filled_boxes(true)}.items():
        network = train_segmenter(content, pictures, arguments.epochs, seed)
        found = mask_average_precision(network, *held_out)
        precision[kind] = {name: found[name] for name in SHOWN}
    return {
        "seed": seed,
        "mIoU": compare_annotations(labelled, true)[0].mean_iou,
        "precision": precision,
        "retention": retention_rate(precision["mal"]["AP"], precision["true"]["AP"]),
        "retention_of_boxes": retention_rate(precision["box"]["AP"], precision["true"]["AP"]),
    }


def filled_boxes(content: Mapping[str, Any]) -> dict[str, Any]:
    """Give the same file with each mask replaced by its whole box."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    annotations = []
    for annotation in content["annotations"]:
        mask = np.zeros((1, *sizes[annotation["image_id"]]), bool)
        x, y, width, height = (round(side) for side in annotation["bbox"])
        mask[0, y : y + height, x : x + width] = True
        annotations.append({**annotation, "segmentation": encode_masks(mask)[0]})
    return {**content, "annotations": annotations}


def pictures_of(dataset: Any) -> dict[int, np.ndarray]:
    """Give the pixels of all pictures by the ids that `coco_content` gives them."""
    return {number: np.asarray(row["image"]) for number, row in enumerate(dataset, start=1)}


def print_row(row: Mapping[str, Any]) -> None:
    """Print the figures of one seed."""
    values = ", ".join(f"{kind} {precision['AP']:.3f}" for kind, precision in row["precision"].items())
    print(
        f"seed {row['seed']}: masks of MAL mIoU {row['mIoU']:.3f}; mask AP by training masks: {values}; retention "
        f"{row['retention']:.1f} %",
        flush=True,
    )


def print_means(rows: list[dict[str, Any]]) -> None:
    """Print the table of means over seeds."""
    print(f"\n{'trained on':12} " + " ".join(f"{name:>6}" for name in SHOWN) + "  retention")
    for kind, name in (("true", "true masks"), ("mal", "MAL's masks"), ("box", "filled boxes")):
        means = [np.mean([row["precision"][kind][metric] for row in rows]) for metric in SHOWN]
        key = {"mal": "retention", "box": "retention_of_boxes"}.get(kind)
        kept = 100.0 if key is None else np.mean([row[key] for row in rows])
        print(f"{name:12} " + " ".join(f"{value:6.3f}" for value in means) + f"  {kept:7.1f} %")


if __name__ == "__main__":
    run(main)
