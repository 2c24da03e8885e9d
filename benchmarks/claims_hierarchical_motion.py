"""Does it pay to learn motion from videos without labels? The claim of hierarchical contrastive motion learning on the
embedded motions, of which a tenth has labels.

For every seed motion is learned from all training videos by the recipe hierarchical_motion/embedded: the prime level,
from its weights level 1, from those level 2; and all three at once for as many epochs together. From each of these,
and from scratch, a classifier is trained on a tenth of the labels, the same tenth for all; also from scratch the same
network without motion. Scored on the split "test"; settings were chosen on "validation". Frozen features of all levels
are asked by a linear classifier that sees all labels, and by the nearest neighbour.

The claim: with all levels learned one after the other the classifier is at least 5 points of top-1 accuracy above the
same network from scratch. Exit status 1 when it does not hold.

    python benchmarks/claims_hierarchical_motion.py                      # 3 seeds: 12 + 18 runs of about a minute
    python benchmarks/claims_hierarchical_motion.py --runs runs/motion   # goes on where it was stopped
"""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_parts import train_recipe
from claim_runs import claim_parser, print_claim, read_scores, run_name
from tqdm.auto import tqdm

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus

RECIPE, CORPUS = "hierarchical_motion/embedded", "motions"
STAGES, SIZES = ("res2", "res3", "res5"), (32, 48, 64)
NONE, SCRATCH, PRIME, LEVEL1, LEVEL2, JOINT = (
    "no motion",
    "from scratch",
    "prime",
    "prime and level 1",
    "all levels",
    "all levels at once",
)
ROWS = (NONE, SCRATCH, PRIME, LEVEL1, LEVEL2, JOINT)
LEVELS_OF = {PRIME: 1, LEVEL1: 2}
# Each goes on from the one before it, where there is one.
PRETRAININGS = {PRIME: None, LEVEL1: PRIME, LEVEL2: LEVEL1, JOINT: None}
PROBED_ROWS = (LEVEL2, JOINT)
PROBED = ("probe_top1_accuracy", "retrieval_top1_accuracy", "reconstruction_gain")
# From scratch all of a network must learn; a rate for that was chosen on the validation split too.
SCRATCH_OPTIONS = ["--pretrained_lr_multiplier", "1", "--learning_rate", "0.005", "--weight_decay", "0.05"]
LEAST_GAIN = 0.05


def main() -> None:
    arguments = claim_parser(__doc__).parse_args()
    make_embedded_corpus(CORPUS)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.processes) as pool:
        folder = Path(temporary) if arguments.runs is None else arguments.runs
        # Seed by seed, so that a run that is stopped has whole comparisons.
        jobs = {seed: pool.submit(run_seed, folder, seed, arguments.split) for seed in arguments.seeds}
        results = {seed: job.result() for seed, job in tqdm(jobs.items(), unit="seed")}
    accuracies = {row: np.array([results[seed]["top1"][row] for seed in arguments.seeds]) for row in ROWS}
    frozen = {
        row: {name: np.mean([results[seed]["frozen"][row][name] for seed in arguments.seeds]) for name in PROBED}
        for row in PROBED_ROWS
    }
    print_tables(accuracies, frozen, arguments)
    if arguments.json is not None:
        top1 = {row: values.tolist() for row, values in accuracies.items()}
        content = {"split": arguments.split, "seeds": arguments.seeds, "top1": top1, "frozen": frozen}
        write_json(arguments.json, content)
    gain = accuracies[LEVEL2].mean() - accuracies[SCRATCH].mean()
    sentence = f"{100 * gain:+.1f} points above the same network from scratch, claimed {100 * LEAST_GAIN:+.0f} or more"
    holds = print_claim([(gain >= LEAST_GAIN, sentence)])
    sys.exit(0 if holds else 1)


def run_seed(folder: Path, seed: int, split: str) -> dict[str, Any]:
    """Train and score everything of one seed, what is there already excepted."""
    learned: dict[str, Path] = {}
    frozen, top1 = {}, {}
    for row, before in PRETRAININGS.items():
        learned[row] = folder / run_name(row, seed) / "motion"
        options = ["--phases", "pretraining", "--eval_split", split, *levels_options(row)]
        if before is not None:
            level = LEVELS_OF[before]
            options += ["--first_level", str(level), "--model_name_or_path", str(learned[before])]
        if row == JOINT:
            options += ["--progressive", "false"]
        if row not in PROBED_ROWS:
            options += ["--eval_strategy", "no"]
        train(learned[row], seed, options)
        if row in PROBED_ROWS:
            frozen[row] = read_scores(learned[row], split)["metrics"]
    for row in ROWS:
        options = ["--phases", "finetuning", "--eval_split", split, *levels_options(row)]
        if row in learned:
            options += ["--model_name_or_path", str(learned[row])]
        else:
            options += SCRATCH_OPTIONS
        if row == NONE:
            options += ["--model.fusion_type", "none"]
        classifier = folder / run_name(row, seed) / "classes"
        train(classifier, seed, options)
        top1[row] = read_scores(classifier, split)["metrics"]["top1_accuracy"]
    return {"top1": top1, "frozen": frozen}


def levels_options(row: str) -> list[str]:
    """Give the options that leave a network its lowest levels alone."""
    count = LEVELS_OF.get(row, len(STAGES))
    return ["--model.motion_stages", *STAGES[:count], "--model.motion_hidden_sizes", *map(str, SIZES[:count])]


def train(output_dir: Path, seed: int, options: list[str]) -> None:
    """Train and score one network, unless it is there."""
    if not (output_dir / "model.safetensors").is_file():
        words = ["--save_strategy", "no", "--overwrite_output_dir", "true"]
        train_recipe(RECIPE, output_dir, seed, [*options, *words])


def print_tables(
    accuracies: dict[str, np.ndarray], frozen: dict[str, dict[str, float]], arguments: argparse.Namespace
) -> None:
    """Print means over seeds and every seed's value, and what the frozen features are worth."""
    seeds = ", ".join(map(str, arguments.seeds))
    print(f"\ntop-1 in points on {arguments.split}, a tenth of the labels, mean of the seeds {seeds}")
    print(f"{'motion':20}{'top-1':>8}{'± std':>7}   by seed")
    for row, values in accuracies.items():
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        by_seed = " ".join(f"{100 * value:.1f}" for value in values)
        print(f"{row:20}{100 * values.mean():8.1f}{100 * spread:7.1f}   {by_seed}")
    print(f"\n{'frozen features':20}{'linear probe':>14}{'neighbour':>11}{'reconstruction gain':>21}")
    for row, values in frozen.items():
        probe, neighbour, gain = (100 * values[name] for name in PROBED)
        print(f"{row:20}{probe:14.1f}{neighbour:11.1f}{gain:21.1f}")


if __name__ == "__main__":
    main()
