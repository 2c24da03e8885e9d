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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_parts import train_recipe
from claim_runs import claim_parser, difference_of_answers, print_claim, read_scores, right_answers, run_all

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus

RECIPE, CORPUS = "cross_x/embedded", "styles"
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
    arguments = claim_parser(__doc__).parse_args()
    make_embedded_corpus(CORPUS)
    results = run_all(NETWORKS, arguments, partial(train, arguments.split))
    print_table(results, arguments)
    gain, error = difference(results, TRUNK, arguments.seeds)
    sentence = (
        f"the whole method {100 * gain:+.1f} ± {100 * error:.1f} points above its own trunk, claimed "
        f"{100 * LEAST_GAIN:+.0f} or more"
    )
    holds = print_claim([(gain >= LEAST_GAIN, sentence)])
    if arguments.json is not None:
        write_json(arguments.json, summary(results, arguments))
    sys.exit(0 if holds else 1)


def train(split: str, output_dir: Path, name: str, seed: int) -> dict[str, Any]:
    """Train and score one network, unless it is there; give its metrics, its size, and which answers are right."""
    if not (output_dir / "metrics.json").is_file():
        train_recipe(RECIPE, output_dir, seed, [*NETWORKS[name], "--eval_split", split, "--save_strategy", "no"])
    facts = json.loads((output_dir / "run.json").read_text(encoding="utf-8"))
    return {
        "metrics": read_scores(output_dir, split)["metrics"],
        "parameters": facts["num_parameters"],
        "right": right_answers(output_dir, CORPUS, split),
    }


def difference(results: dict[tuple[str, int], dict[str, Any]], name: str, seeds: list[int]) -> tuple[float, float]:
    """Give how far the whole method is above another network, see `difference_of_answers`."""
    return difference_of_answers(*([results[one, seed]["right"] for seed in seeds] for one in (WHOLE, name)))


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
