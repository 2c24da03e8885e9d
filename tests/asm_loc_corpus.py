"""A small corpus of snippet features with two classes, which ASM-Loc learns within seconds, and a recipe for it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml

WIDTH, NUM_SNIPPETS, SECONDS_PER_SNIPPET = 16, 40, 0.64
CLASSES = ("dive", "jump")
SPLITS = {"train": 8, "test": 4}
RECIPE = {
    "method": "asm_loc",
    "num_refinement_steps": 1,
    "num_attention_heads": 4,
    "num_snippets": 24,
    "standardize_features": True,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.01,
    "optim": "adam",
    "logging_steps": 1,
    "disable_tqdm": True,
}


def write_corpus(
    folder: Path,
    shift: float = 0.0,
    *,
    classes: tuple[str, ...] = CLASSES,
    splits: dict[str, int] = SPLITS,
) -> Path:
    """Write features in which each class has its own direction; `shift` moves annotated times, not the features."""
    generator = np.random.default_rng(0)
    directions = 3 * generator.standard_normal((len(classes), WIDTH))
    (folder / "features").mkdir(parents=True)
    with (folder / "annotations.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "label", "start", "end", "subset", "duration"])
        for split, count in splits.items():
            for number in range(count):
                features = generator.standard_normal((NUM_SNIPPETS, WIDTH))
                label, start = number % len(classes), int(generator.integers(3, 25))
                features[start : start + 8] += directions[label]
                np.save(folder / "features" / f"{split}{number}.npy", features.astype(np.float32))
                begin = start * SECONDS_PER_SNIPPET + shift
                end = begin + 8 * SECONDS_PER_SNIPPET
                rows.writerow([f"{split}{number}", classes[label], begin, end, split, NUM_SNIPPETS * 0.64])
    return folder


def write_recipe(file: Path, corpus: Path, **changes: Any) -> Path:
    """Write a recipe file that trains the smallest cascade on `corpus`, with `changes` to its arguments."""
    file.write_text(yaml.safe_dump(RECIPE | {"dataset_name": str(corpus)} | changes))
    return file
