"""Do parts, several heads and Cross-X's regularisers pay? Its claim on the embedded styles, sixteen classes of which
those of one digit differ in one detail.

For every seed these networks are trained by the recipe cross_x/embedded and its schedule: the whole method; its own
trunk, which is a ResNet with one head (one part); the method without C3S, without the cross-layer term, and without
both, so that parts and heads alone remain; and with three parts. Scored on the split "test"; settings were chosen on
"validation".

The claim: the whole method is at least 2 points of top-1 accuracy above its own trunk. Exit status 1 when it does not
hold.

    python benchmarks/claims_cross_x.py                       # 3 seeds: 18 runs of about two minutes
    python benchmarks/claims_cross_x.py --runs runs/cross_x   # goes on with what is there
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_parts import train_recipe
from tqdm.auto import tqdm

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.embedded.embedded_corpora import METADATA, make_embedded_corpus

RECIPE, CORPUS, SPLIT = "cross_x/embedded", "styles", "test"
WHOLE, TRUNK = "Cross-X", "trunk alone"
LEAST_GAIN = 0.02
WITHOUT_C3S = [word for name in ("ultimate", "penultimate", "merged") for word in (f"--model.gamma_{name}", "0")]
WITHOUT_CROSS_LAYER = ["--model.cross_layer_weight", "0"]
NETWORKS = {
    WHOLE: [],
    TRUNK: ["--model.num_parts", "1"],
    "without C3S": WITHOUT_C3S,
    "without cross-layer": WITHOUT_CROSS_LAYER,
    "parts and heads alone": WITHOUT_C3S + WITHOUT_CROSS_LAYER,
    "three parts": ["--model.num_parts", "3"],
}


def main() -> None:
    arguments = parse_arguments()
    make_embedded_corpus(CORPUS)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.processes) as pool:
        folder = Path(temporary) if arguments.runs is None else arguments.runs
        jobs = {
            (name, seed): pool.submit(train, folder, name, seed, arguments.split)
            for seed in arguments.seeds
            for name in NETWORKS
        }
        results = {key: job.result() for key, job in tqdm(jobs.items(), unit="run")}
    print_table(results, arguments)
    gain, error = difference(results, TRUNK, arguments.seeds)
    holds = gain >= LEAST_GAIN
    print(
        f"\n{'holds' if holds else 'FAILS'}: the whole method {100 * gain:+.1f} ± {100 * error:.1f} points above its "
        f"own trunk, claimed {100 * LEAST_GAIN:+.0f} or more"
    )
    if arguments.json is not None:
        write_json(arguments.json, summary(results, arguments))
    sys.exit(0 if holds else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--split", default=SPLIT, help="to choose settings: validation (default: test)")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs; those in it are not trained again")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


def train(folder: Path, name: str, seed: int, split: str) -> dict[str, Any]:
    """Train and score one network, unless it is there; give its metrics, its size, and which answers are right."""
    output_dir = folder / f"{name.replace(' ', '_')}-{seed}"
    if not (output_dir / "metrics.json").is_file():
        train_recipe(RECIPE, output_dir, seed, [*NETWORKS[name], "--eval_split", split, "--save_strategy", "no"])
    metrics = json.loads((output_dir / "metrics.json").read_text(encoding="utf-8"))
    if metrics["split"] != split:
        raise ValueError(f"{output_dir} was scored on {metrics['split']}, not on {split}; give another folder")
    facts = json.loads((output_dir / "run.json").read_text(encoding="utf-8"))
    return {
        "metrics": metrics["metrics"],
        "parameters": facts["num_parameters"],
        "right": right_answers(output_dir, split),
    }


def right_answers(output_dir: Path, split: str) -> np.ndarray:
    """Tell for every picture, in the order of their names, whether a run's best class is true: bool (pictures,)."""
    answers = json.loads((output_dir / "predictions.json").read_text(encoding="utf-8"))["results"]
    rows = (make_embedded_corpus(CORPUS) / split / METADATA).read_text(encoding="utf-8").splitlines()
    truth = {row["file_name"]: row["label"] for row in map(json.loads, rows)}
    return np.array([answers[name][0]["label"] == truth[name] for name in sorted(truth)])


def difference(results: dict[tuple[str, int], dict[str, Any]], name: str, seeds: list[int]) -> tuple[float, float]:
    """Give how far the whole method is above another network, mean over seeds, and the standard error over pictures.

    Both answer to the same pictures, so they are compared picture by picture, averaged over the seeds.
    """
    by_picture = np.mean(
        [results[WHOLE, seed]["right"].astype(float) - results[name, seed]["right"] for seed in seeds], axis=0
    )
    return float(by_picture.mean()), float(by_picture.std(ddof=1) / np.sqrt(len(by_picture)))


def accuracies(results: dict[tuple[str, int], dict[str, Any]], name: str, seeds: list[int]) -> np.ndarray:
    return np.array([results[name, seed]["metrics"]["top1_accuracy"] for seed in seeds])


def print_table(results: dict[tuple[str, int], dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Print means over seeds, every seed's value, how far the whole method is above, and the heads alone."""
    seeds = arguments.seeds
    print(f"\ntop-1 in points on {arguments.split}, mean of {len(seeds)} seeds ({', '.join(map(str, seeds))})")
    print(f"{'network':24}{'parameters':>11}{'top-1':>8}   {'by seed':16}{'Cross-X above':>18}   heads alone")
    for name in NETWORKS:
        values = accuracies(results, name, seeds)
        by_seed = " ".join(f"{100 * value:.1f}" for value in values)
        gain, error = difference(results, name, seeds)
        shown = "" if name == WHOLE else f"{100 * gain:+.1f} ± {100 * error:.1f}"
        heads = " ".join(
            f"{head} {100 * np.mean([results[name, seed]['metrics'][key] for seed in seeds]):.1f}"
            for head in ("ultimate", "penultimate", "merged")
            if (key := f"{head}_top1_accuracy") in results[name, seeds[0]]["metrics"]
        )
        parameters = results[name, seeds[0]]["parameters"]
        print(f"{name:24}{parameters:11}{100 * values.mean():8.1f}   {by_seed:16}{shown:>18}   {heads}")


def summary(results: dict[tuple[str, int], dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "split": arguments.split,
        "seeds": arguments.seeds,
        "top1": {name: accuracies(results, name, arguments.seeds).tolist() for name in NETWORKS},
        "parameters": {name: results[name, arguments.seeds[0]]["parameters"] for name in NETWORKS},
        "difference_and_standard_error": {name: difference(results, name, arguments.seeds) for name in NETWORKS},
    }


if __name__ == "__main__":
    main()
