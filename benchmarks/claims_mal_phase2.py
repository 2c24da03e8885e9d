"""How much of its mask AP does a segmenter keep when MAL's masks take the place of the true ones?

For every seed: train MAL on the boxes of embedded/boxes (recipe mal/embedded through scripts/train.py), label a larger
corpus of the same kind with it (scripts/label_masks.py), and train the same small Mask R-CNN (small_mask_rcnn.py) on
these masks and on the true ones. Prints the mask AP of each on the held-out test pictures and the retention rate, mean
over seeds. Exit status 1 when MAL's masks keep less than 90 % of the AP of the true ones.

    python benchmarks/claims_mal_phase2.py                                # 3 seeds
    python benchmarks/claims_mal_phase2.py --models runs/mal0 runs/mal1 --seeds 0 1
    python benchmarks/claims_mal_phase2.py --json phase2.json --kept phase2      # goes on where it was stopped
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_parts import train_recipe
from small_mask_rcnn import mask_average_precision, train_segmenter

from hf_vidmodels.atomic_io import read_json_object, write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.embedded.embedded_corpora import load_embedded_corpus
from hf_vidmodels.data.embedded.embedded_pictures import BOXES
from hf_vidmodels.data.instances.coco_content import coco_content, write_instance_file
from hf_vidmodels.evaluation.mask_evaluation import SHOWN_PRECISION
from hf_vidmodels.metrics.mask_quality import compare_annotations, retention_rate
from hf_vidmodels.modeling.modeling_mal import MalForMaskLabeling
from hf_vidmodels.weight_digest import digest_of_weights

REPOSITORY = Path(__file__).resolve().parents[1]
CLAIMED_RETENTION = 90.0
# Sizes of the crop that MAL looks at; the larger one makes its outlines more exact.
SCALES = (1, 1.33)


def main() -> None:
    """Read the command line, run all seeds and print the table."""
    arguments = parse_arguments()
    models = arguments.models or [None] * len(arguments.seeds)
    load_corpus("embedded/boxes")
    rows = []
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        shared = [repeat(value) for value in (arguments.pictures, arguments.epochs, arguments.kept)]
        for row in pool.map(measure, arguments.seeds, models, *shared):
            rows.append(row)
            print_row(row)
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
    parser.add_argument("--processes", type=int, default=2, help="seeds at a time, one thread each (default: 2)")
    parser.add_argument(
        "--kept", type=Path, help="folder that keeps what was measured of each seed; that is not measured again"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if arguments.models and len(arguments.models) != len(arguments.seeds):
        parser.error(f"give a model for each seed: {len(arguments.models)} models, {len(arguments.seeds)} seeds")
    return arguments


def measure(seed: int, model: str | None, num_pictures: int, epochs: int, kept: Path | None) -> dict[str, Any]:
    """Label the pictures of one seed, train the segmenter on each kind of masks, and score it; on one thread.

    Args:
        seed: of all trainings; that of the labelled corpus is one more.
        model: a trained MAL; None trains it.
        num_pictures: to label and to train the segmenter on.
        epochs: of the segmenter.
        kept: folder of earlier measurements, by seed.

    Returns:
        `mIoU` of the labelled masks, their `retention` rate, the mask AP by kind of masks, and the settings.

    Raises:
        ValueError: what is kept of this seed was measured with another model or other settings.
    """
    settings = {"pictures": num_pictures, "epochs": epochs, "weights_sha256": model and weights_digest(model)}
    if kept is not None and (path := kept / f"{seed}.json").is_file():
        row = read_json_object(path, "a measurement of phase 2")
        if row.get("settings") != settings:
            raise ValueError(
                f"{path} was measured with {row.get('settings')}, not with {settings}: delete it, or give another "
                "folder for --kept"
            )
        return row
    torch.set_num_threads(1)
    test = load_corpus("embedded/boxes", split="test")
    held_out = coco_content(test), pictures_of(test)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        parameters = replace(BOXES, splits=(("train", num_pictures),))
        corpus = load_embedded_corpus("boxes", seed=seed + 1, cache_dir=folder, split="train", parameters=parameters)
        images = write_instance_file(corpus, folder / "true.json")
        if model is None:
            model = str(folder / "mal")
            train_recipe("mal/embedded", Path(model), seed, ["--eval_strategy", "no"])
        words = ["--model", model, "--annotations", folder / "true.json"]
        words += ["--images", images, "--output", folder / "mal.json", "--batch_size", 32]
        words += ["--scales", *SCALES]
        subprocess.run([sys.executable, str(REPOSITORY / "scripts" / "label_masks.py"), *map(str, words)], check=True)
        true, labelled = (
            read_json_object(folder / name, "a COCO instance file") for name in ("true.json", "mal.json")
        )
        pictures = pictures_of(corpus)
    precision = {}
    for kind, content in {"true": true, "mal": labelled}.items():
        network = train_segmenter(content, pictures, epochs, seed)
        found = mask_average_precision(network, *held_out)
        precision[kind] = {name: found[name] for name in SHOWN_PRECISION}
    row = {
        "seed": seed,
        "settings": settings,
        "mIoU": compare_annotations(labelled, true, count_missing=True)[0].mean_iou,
        "precision": precision,
        "retention": retention_rate(precision["mal"]["AP"], precision["true"]["AP"]),
    }
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        write_json(kept / f"{seed}.json", row)
    return row


def weights_digest(model: str) -> str:
    """Give the SHA-256 of the network that answers."""
    return digest_of_weights(MalForMaskLabeling.from_pretrained(model, inference_only=True))


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
    print(f"\n{'trained on':12} " + " ".join(f"{name:>6}" for name in SHOWN_PRECISION) + "  retention")
    for kind, name in (("true", "true masks"), ("mal", "MAL's masks")):
        means = [np.mean([row["precision"][kind][metric] for row in rows]) for metric in SHOWN_PRECISION]
        kept = 100.0 if kind == "true" else np.mean([row["retention"] for row in rows])
        print(f"{name:12} " + " ".join(f"{value:6.3f}" for value in means) + f"  {kept:7.1f} %")


if __name__ == "__main__":
    run(main)
