"""Does it pay to mix frames by learned matrices? The claim of GTA on the embedded motions.

The recipe gta/embedded is trained with every seed as it is, and with what it is compared with in its place: no
attention, joint attention over all positions, attention over space and then time, and GTA whose heads see their own
group of channels alone. All through scripts/train.py, scored on the split "test"; settings were chosen on
"validation".

Printed are the multiply-adds of a clip, top-1 accuracies of every seed, their means and standard deviations. The
claim: GTA is at least 5 points above the same backbone without attention. Exit status 1 when it does not hold.

    python benchmarks/claims_gta.py                          # 3 seeds: 15 runs
    python benchmarks/claims_gta.py --runs runs/claims_gta   # goes on where it was stopped
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
from benchmark_parts import train_recipe
from claim_runs import claim_parser, print_claim, read_scores, run_all

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus

RECIPE = "gta/embedded"
GTA, WITHOUT = "GTA", "no attention"
VARIANTS = {
    WITHOUT: ["--model.attention_type", "none"],
    "joint": ["--model.attention_type", "joint"],
    "decoupled": ["--model.attention_type", "decoupled"],
    "GTA, own groups": ["--model.cross_channel", "false"],
    GTA: [],
}
LEAST_GAIN = 0.05


def main() -> None:
    arguments = claim_parser(__doc__).parse_args()
    make_embedded_corpus("motions")
    results = run_all(VARIANTS, arguments, partial(train, arguments.split))
    accuracies = {
        variant: np.array([results[variant, seed]["top1"] for seed in arguments.seeds]) for variant in VARIANTS
    }
    costs = {variant: results[variant, arguments.seeds[0]]["gflops"] for variant in VARIANTS}
    print_table(accuracies, costs, arguments)
    if arguments.json is not None:
        top1 = {variant: values.tolist() for variant, values in accuracies.items()}
        write_json(arguments.json, {"split": arguments.split, "seeds": arguments.seeds, "top1": top1, "gflops": costs})
    gain = accuracies[GTA].mean() - accuracies[WITHOUT].mean()
    sentence = f"{100 * gain:+.1f} points above {WITHOUT}, claimed {100 * LEAST_GAIN:+.0f} or more"
    holds = print_claim([(gain >= LEAST_GAIN, sentence)])
    sys.exit(0 if holds else 1)


def train(split: str, output_dir: Path, variant: str, seed: int) -> dict[str, float]:
    """Train a variant unless its run is finished; give its accuracy and its multiply-adds in units of 1e9."""
    if not (output_dir / "metrics.json").is_file():
        options = ["--eval_split", split, "--save_strategy", "no", "--overwrite_output_dir", "true"]
        train_recipe(RECIPE, output_dir, seed, [*options, *VARIANTS[variant]])
    content = read_scores(output_dir, split)
    cost = dict(content["tables"][0]["rows"])["GFLOPs a view, measured"]
    return {"top1": content["metrics"]["top1_accuracy"], "gflops": cost}


def print_table(accuracies: dict[str, np.ndarray], costs: dict[str, float], arguments: argparse.Namespace) -> None:
    """Print means and standard deviations over seeds, and every seed's value."""
    seeds = ", ".join(map(str, arguments.seeds))
    print(f"\ntop-1 in points on {arguments.split}, mean of {len(arguments.seeds)} seeds ({seeds})")
    print(f"{'attention':18}{'GFLOPs':>9}{'top-1':>8}{'± std':>7}   by seed")
    for variant, values in accuracies.items():
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        by_seed = " ".join(f"{100 * value:.1f}" for value in values)
        print(f"{variant:18}{costs[variant]:9.4f}{100 * values.mean():8.1f}{100 * spread:7.1f}   {by_seed}")


if __name__ == "__main__":
    main()
