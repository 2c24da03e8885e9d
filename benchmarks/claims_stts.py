"""Does it pay to learn which tokens to keep? The claim of STTS on the embedded clips.

For every seed a full network is trained (recipe stts/embedded, its first stage), and from it, with one and the same
budget of epochs and rates, four networks: without selection, and with ten of 16 frames and 49 of 64 tokens in each of
them chosen by learned scorers, at random or uniformly. All through scripts/train.py, scored on the split "test";
settings were chosen on "validation".

Printed are top-1 accuracies of every seed and their means, and the multiply-adds of a clip. The claim: at no more than
0.65 of the full network's, learned selection loses at most 1.5 points, and beats random and uniform selection by at
least 3 points each. Exit status 1 when it does not hold.

    python benchmarks/claims_stts.py                       # 3 seeds: 15 runs
    python benchmarks/claims_stts.py --json claims.json
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_parts import train_recipe
from claim_runs import difference_of_answers, print_claim, right_answers
from tqdm.auto import tqdm

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus

RECIPE, CORPUS = "stts/embedded", "clips"
SPLIT = "test"
MODES = ("none", "learned", "random", "uniform")
GREATEST_COST = 0.65
GREATEST_LOSS, LEAST_GAIN = 0.015, 0.03


def main() -> None:
    arguments = parse_arguments()
    make_embedded_corpus(CORPUS)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.processes) as pool:
        bases_folder = Path(folder) if arguments.bases is None else arguments.bases
        bases = {seed: pool.submit(train_full, bases_folder / f"full-{seed}", seed) for seed in arguments.seeds}
        jobs = {
            (mode, seed): pool.submit(train_from, base, Path(folder) / f"{mode}-{seed}", seed, mode)
            for seed, base in bases.items()
            for mode in MODES
        }
        results = {key: job.result() for key, job in tqdm(jobs.items(), unit="run")}
    accuracies = {mode: np.array([results[mode, seed]["top1"] for seed in arguments.seeds]) for mode in MODES}
    costs = {mode: results[mode, arguments.seeds[0]]["gflops"] for mode in MODES}
    soft = np.array([results["learned", seed]["soft"] for seed in arguments.seeds])
    print_table(accuracies, costs, soft, arguments.seeds)
    right = {mode: [results[mode, seed]["right"] for seed in arguments.seeds] for mode in MODES}
    errors = {mode: difference_of_answers(right["learned"], right[mode])[1] for mode in MODES if mode != "learned"}
    if arguments.json is not None:
        top1 = {mode: values.tolist() for mode, values in accuracies.items()}
        content = {
            "split": SPLIT,
            "num_clips": len(results["none", arguments.seeds[0]]["right"]),
            "seeds": arguments.seeds,
            "top1": top1,
            "soft_top1": soft.tolist(),
            "standard_error_of_difference_to_learned": errors,
            "gflops": costs,
        }
        write_json(arguments.json, content)
    sys.exit(0 if claim_holds(accuracies, costs, errors) else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument(
        "--bases",
        type=Path,
        help="folder that keeps the full networks, full-<seed>; those in it are not trained again",
    )
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


def train_full(output_dir: Path, seed: int) -> Path:
    """Train the full network as the recipe's first stage does, unless it is there; give its folder."""
    if (output_dir / "model.safetensors").is_file():
        return output_dir
    as_the_stage = ["--lr_scheduler_type", "cosine", "--warmup_ratio", "0.1"]
    return run(output_dir, seed, ["--model.selection_mode", "none", "--eval_strategy", "no", *as_the_stage])


def train_from(base: Future[Path], output_dir: Path, seed: int, mode: str) -> dict[str, Any]:
    """Train a network on from the full one as the recipe's second stage does; give its accuracies, its cost, and for
    every clip whether the answer is right."""
    options = ["--model.selection_mode", mode, "--model_name_or_path", str(base.result())]
    run(output_dir, seed, [*options, "--eval_split", SPLIT])
    content = json.loads((output_dir / "metrics.json").read_text(encoding="utf-8"))
    metrics = content["metrics"]
    cost = dict(content["tables"][0]["rows"])["GFLOPs a view, measured"]
    soft = metrics.get("soft_top1_accuracy", metrics["top1_accuracy"])
    return {
        "top1": metrics["top1_accuracy"],
        "soft": soft,
        "gflops": cost,
        "right": right_answers(output_dir, CORPUS, SPLIT),
    }


def run(output_dir: Path, seed: int, options: list[str]) -> Path:
    """Train one stage of the recipe, both of which have its number of epochs."""
    train_recipe(RECIPE, output_dir, seed, ["--stages", "none", "--save_strategy", "no", *options])
    return output_dir


def print_table(
    accuracies: dict[str, np.ndarray], costs: dict[str, float], soft: np.ndarray, seeds: list[int]
) -> None:
    """Print means over seeds and every seed's value."""
    print(f"\ntop-1 in points, mean of {len(seeds)} seeds ({', '.join(map(str, seeds))})")
    print(f"{'selection':12}{'GFLOPs':>9}{'of full':>9}{'top-1':>8}   by seed")
    for mode, values in accuracies.items():
        by_seed = " ".join(f"{100 * value:.1f}" for value in values)
        share = costs[mode] / costs["none"]
        print(f"{mode:12}{costs[mode]:9.4f}{share:9.3f}{100 * values.mean():8.1f}   {by_seed}")
    print(f"learned, mixing softly as in early training: {100 * soft.mean():.1f}")


def claim_holds(accuracies: dict[str, np.ndarray], costs: dict[str, float], errors: dict[str, float]) -> bool:
    """Print each part of the claim with what was measured (± standard error over clips), and say whether all hold."""
    means = {mode: float(values.mean()) for mode, values in accuracies.items()}
    share, loss = costs["learned"] / costs["none"], means["none"] - means["learned"]
    parts = [
        (share <= GREATEST_COST, f"multiply-adds {share:.3f} of the full network's, claimed {GREATEST_COST} or less"),
        (
            loss <= GREATEST_LOSS,
            f"{100 * loss:+.1f} ± {100 * errors['none']:.1f} points lost against no selection, claimed "
            f"{100 * GREATEST_LOSS} or less",
        ),
    ]
    for mode in ("random", "uniform"):
        gain = means["learned"] - means[mode]
        sentence = (
            f"{100 * gain:+.1f} ± {100 * errors[mode]:.1f} points above {mode} selection, claimed "
            f"{100 * LEAST_GAIN:+.0f} or more"
        )
        parts.append((gain >= LEAST_GAIN, sentence))
    return print_claim(parts)


if __name__ == "__main__":
    main()
