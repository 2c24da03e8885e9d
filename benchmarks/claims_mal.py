"""Does MAL learn masks from boxes? Its claim on the embedded corpus, with GrabCut beside it.

For every seed: train the recipe mal/embedded through scripts/train.py on boxes alone, make the masks of the held-out
pictures from their boxes, and compare them with the true ones: mean IoU over classes, in points. Beside it the filled
box, and OpenCV's GrabCut started from the same boxes. The claim is that MAL is at least 20 points above the filled
box, mean over seeds. Objects are also split by how far their colour is from that around them. With --phase2 the
retention rate is measured with the same models (claims_mal_phase2.py), which must be at least 90 %. Exit status 1 when
a claim does not hold.

    python benchmarks/claims_mal.py                         # 3 seeds, phase 1
    python benchmarks/claims_mal.py --phase2                # and phase 2
    python benchmarks/claims_mal.py --pictures failures.png --json claims.json
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from benchmark_parts import train_recipe
from PIL import Image

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.modeling.ops.run_length_masks import decode_rles
from hf_vidmodels.visualization.mask_overlays import draw_instances, tile_drawings

CLAIMED_GAIN = 0.20
GRABCUT_ITERATIONS = 5
# Mean distance of colours, in levels of 255, below which an object looks like what surrounds it.
SIMILAR = 60
# Pixels around a box whose colours count as its surroundings.
RING = 6
NUM_FAILURES = 4


@dataclass(frozen=True)
class Instance:
    """One held-out object: its picture (H, W, 3), box (xyxy in whole pixels), true mask (H, W), class and id."""

    picture: np.ndarray
    box: tuple[int, int, int, int]
    mask: np.ndarray
    label: int
    id: int


def main() -> None:
    """Train, compare, print."""
    arguments = parse_arguments()
    instances = read_instances()
    masks = {"filled box": [fill_box(one) for one in instances], "GrabCut": [cut_box(one) for one in instances]}
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.processes) as pool:
        folders = [(arguments.models or Path(temporary)) / f"mal{seed}" for seed in arguments.seeds]
        for _ in pool.map(train, folders, arguments.seeds):
            pass
        for folder, seed in zip(folders, arguments.seeds, strict=True):
            masks[f"MAL, seed {seed}"] = read_predictions(folder, instances)
        overlaps = {name: np.array(list(map(iou, found, instances))) for name, found in masks.items()}
        holds = report(overlaps, instances, arguments)
        if arguments.pictures is not None:
            draw_failures(masks, overlaps, instances).save(arguments.pictures)
        if arguments.phase2:
            command = [sys.executable, str(Path(__file__).with_name("claims_mal_phase2.py")), "--models"]
            command += [*map(str, folders), "--seeds", *map(str, arguments.seeds)]
            command += ["--processes", str(arguments.processes)]
            if arguments.models is not None:
                command += ["--kept", str(arguments.models / "phase2")]
            holds &= subprocess.run(command, check=False).returncode == 0
    sys.exit(0 if holds else 1)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument(
        "--models", type=Path, help="folder that keeps the runs and what phase 2 measured; nothing there is repeated"
    )
    parser.add_argument("--phase2", action="store_true", help="also measure the retention rate")
    parser.add_argument("--pictures", type=Path, help="file for pictures of the worst masks of MAL and of GrabCut")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


def train(folder: Path, seed: int) -> None:
    """Train one run, unless it is there."""
    if not (folder / "metrics.json").is_file():
        train_recipe("mal/embedded", folder, seed, ["--eval_split", "test"])


def read_instances() -> list[Instance]:
    """Read the objects of the held-out pictures."""
    instances = []
    for row in load_corpus("embedded/boxes", split="test"):
        picture = np.asarray(row["image"].convert("RGB"))
        for one in row["objects"]:
            left, top, width, height = (int(value) for value in one["bbox"])
            mask = decode_rles([one["segmentation"]])[0]
            instances.append(
                Instance(picture, (left, top, left + width, top + height), mask, one["category"], one["id"])
            )
    return instances


def read_predictions(folder: Path, instances: Sequence[Instance]) -> list[np.ndarray]:
    """Read the masks that a finished run made of the held-out pictures."""
    content = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    by_id = {one["id"]: one["segmentation"] for one in content["annotations"]}
    return list(decode_rles([by_id[one.id] for one in instances]))


def fill_box(instance: Instance) -> np.ndarray:
    """Take the whole box as the mask."""
    left, top, right, bottom = instance.box
    mask = np.zeros(instance.mask.shape, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def cut_box(instance: Instance) -> np.ndarray:
    """Let GrabCut find the object: the inside of the box is perhaps it, the outside surely not."""
    labels = np.where(fill_box(instance), cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    colours = cv2.cvtColor(instance.picture, cv2.COLOR_RGB2BGR)
    cv2.setRNGSeed(0)
    models = np.zeros((2, 1, 65))
    cv2.grabCut(colours, labels, None, models[0], models[1], GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def iou(mask: np.ndarray, instance: Instance) -> float:
    """Compare a mask with the true one."""
    return float((mask & instance.mask).sum() / ((mask | instance.mask).sum() + 1e-6))


def looks_alike(instance: Instance) -> bool:
    """Tell whether the mean colour of the object is near that of the ring around its box."""
    left, top, right, bottom = instance.box
    ring = np.zeros(instance.mask.shape, dtype=bool)
    ring[max(top - RING, 0) : bottom + RING, max(left - RING, 0) : right + RING] = True
    ring &= ~fill_box(instance)
    # The median, because clutter and other objects reach into the ring.
    around = np.median(instance.picture[ring], axis=0)
    return float(np.linalg.norm(instance.picture[instance.mask].mean(0) - around)) < SIMILAR


def mean_over_classes(values: np.ndarray, instances: Sequence[Instance], chosen: np.ndarray) -> float:
    """Average over the instances of each class, then over classes."""
    labels = np.array([one.label for one in instances])[chosen]
    values = values[chosen]
    return float(np.mean([values[labels == label].mean() for label in np.unique(labels)]))


def report(overlaps: dict[str, np.ndarray], instances: Sequence[Instance], arguments: argparse.Namespace) -> bool:
    """Print the table; whether the claim holds."""
    alike = np.array([looks_alike(one) for one in instances])
    groups = {"all": np.ones(len(alike), bool), "distinct colours": ~alike, "similar colours": alike}
    print(f"mean IoU over classes on {len(instances)} held-out objects, in points")
    print(f"{'':16}" + "".join(f"{f'{name} ({int(chosen.sum())})':>24}" for name, chosen in groups.items()))
    table = {}
    for name, values in overlaps.items():
        table[name] = {group: mean_over_classes(values, instances, chosen) for group, chosen in groups.items()}
    runs = [name for name in table if name.startswith("MAL")]
    table["MAL, mean"] = {group: float(np.mean([table[name][group] for name in runs])) for group in groups}
    for name, row in table.items():
        print(f"{name:16}" + "".join(f"{100 * value:24.1f}" for value in row.values()))
    mal = np.mean([overlaps[name] for name in runs], axis=0)
    wins = int((mal > overlaps["GrabCut"]).sum())
    print(f"\nMAL's mask is better than GrabCut's for {wins} of {len(instances)} objects")
    gain = table["MAL, mean"]["all"] - table["filled box"]["all"]
    print(f"MAL above the filled box: {100 * gain:+.1f} points, claimed {100 * CLAIMED_GAIN:+.0f} or more")
    if arguments.json is not None:
        write_json(arguments.json, {"seeds": arguments.seeds, "mIoU": table, "better_than_grabcut": wins})
    return gain >= CLAIMED_GAIN


def draw_failures(
    masks: dict[str, list[np.ndarray]], overlaps: dict[str, np.ndarray], instances: Sequence[Instance]
) -> Image.Image:
    """Draw the objects where each of the two is furthest behind the other: MAL's mask and GrabCut's."""
    run = next(name for name in masks if name.startswith("MAL"))
    behind = overlaps["GrabCut"] - overlaps[run]
    order = np.argsort(-behind, kind="stable")
    drawings = []
    for index in [*order[:NUM_FAILURES], *order[::-1][:NUM_FAILURES]]:
        one = instances[index]
        for name in (run, "GrabCut"):
            title = f"{name}: IoU {overlaps[name][index]:.2f}"
            drawings.append(draw_instances(one.picture, [one.box], masks[name][index][None], title=title))
    return tile_drawings(drawings, columns=4)


if __name__ == "__main__":
    main()
