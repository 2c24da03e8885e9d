"""What benchmarks of claims share: their options, networks trained side by side in folders that are kept, what a run
measured, and the sentences at the end.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm.auto import tqdm

from hf_vidmodels.data.embedded.embedded_corpora import METADATA, make_embedded_corpus

Result = TypeVar("Result")
SPLIT = "test"


def claim_parser(description: str | None) -> argparse.ArgumentParser:
    """Give a parser of the options that all of them have; a benchmark may add its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--split", default=SPLIT, help=f"to choose settings: validation (default: {SPLIT})")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs; those in it are not trained again")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser


def run_all(
    names: Iterable[str], arguments: argparse.Namespace, run: Callable[[Path, str, int], Result]
) -> dict[tuple[str, int], Result]:
    """Run every variant with every seed, seed by seed, so that runs that are stopped leave whole comparisons.

    Args:
        names: of the variants.
        arguments: those of `claim_parser`.
        run: makes one in its folder, unless it is there; takes the folder, the name and the seed.
    """
    names = list(names)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.processes) as pool:
        folder = Path(temporary) if arguments.runs is None else arguments.runs
        jobs = {
            (name, seed): pool.submit(run, folder / run_name(name, seed), name, seed)
            for seed in arguments.seeds
            for name in names
        }
        return {key: job.result() for key, job in tqdm(jobs.items(), unit="run")}


def run_name(name: str, seed: int) -> str:
    """Give the name of a run's folder."""
    return f"{name.replace(', ', '-').replace(' ', '_')}-{seed}"


def read_scores(folder: Path, split: str) -> dict[str, Any]:
    """Give what a run or an evaluation wrote in `metrics.json`.

    Raises:
        ValueError: it was scored on another split.
    """
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if content["split"] != split:
        raise ValueError(f"{folder} was scored on {content['split']}, not on {split}; give another folder")
    return content


def right_answers(output_dir: Path, corpus: str, split: str) -> np.ndarray:
    """Tell for every example, in the order of their names, whether a run's best class is true: bool (examples,)."""
    answers = json.loads((output_dir / "predictions.json").read_text(encoding="utf-8"))["results"]
    rows = (make_embedded_corpus(corpus) / split / METADATA).read_text(encoding="utf-8").splitlines()
    truth = {row["file_name"]: row["label"] for row in map(json.loads, rows)}
    return np.array([answers[name][0]["label"] == truth[name] for name in sorted(truth)])


def difference_of_answers(ones: Iterable[np.ndarray], others: Iterable[np.ndarray]) -> tuple[float, float]:
    """Give how far a network is above another, mean over seeds, and the standard error over examples.

    Both answer to the same examples, so they are compared example by example, averaged over the seeds.

    Args:
        ones: of each seed what `right_answers` gives.
        others: the same of the other network.
    """
    pairs = zip(ones, others, strict=True)
    by_example = np.mean([one.astype(float) - other for one, other in pairs], axis=0)
    return float(by_example.mean()), float(by_example.std(ddof=1) / np.sqrt(len(by_example)))


def print_claim(parts: Iterable[tuple[bool, str]]) -> bool:
    """Print each part of a claim, whether it holds and what was measured; tell whether all hold."""
    parts = list(parts)
    print()
    for holds, sentence in parts:
        print(f"{'holds' if holds else 'FAILS'}: {sentence}")
    return all(holds for holds, _ in parts)
