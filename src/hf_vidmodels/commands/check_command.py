"""Check a corpus and draw some of its annotations before anyone trains on it.

Prints a table of its splits and everything that is wrong with it, and writes one picture a split. Warnings can be
lived with; with any error the exit status is 2.

    hf-vidmodels check --dataset_name embedded/untrimmed
    hf-vidmodels check --dataset_name thumos14 --data_dir data/thumos14 --feature_size 2048
    hf-vidmodels check --dataset_name my_folder --task video-classification --output_dir runs/check
"""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..command_line import command_parser, quiet_libraries, whole_number_from
from ..data.annotation_sheet import draw_annotations
from ..data.content_checks import Problem
from ..data.contracts import describe_task, find_column_problems, find_problems
from ..data.corpora import Corpus, read_corpus
from ..data.corpus_table import corpus_table
from ..data.features.feature_checks import find_feature_problems
from ..data.film_checks import find_film_problems
from ..data.picture_checks import find_picture_problems
from ..optional_packages import require
from ..output_files import output_file, refuse_inputs_as_outputs
from ..tasks import TASKS
from ..visualization.figures import save_figure


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, check and report."""
    arguments = parse_arguments(argv)
    quiet_libraries()
    refuse_inputs_as_outputs([arguments.output_dir], [arguments.dataset_name, arguments.data_dir, arguments.media_dir])
    require("matplotlib", "drawing annotations")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        corpus = read_corpus(
            arguments.dataset_name,
            arguments.data_dir,
            arguments.task,
            media_dir=arguments.media_dir,
            skip_missing_files=arguments.skip_missing_files,
        )
    problems = [Problem("warning", str(warning.message)) for warning in caught if warning.category is UserWarning]
    print(f"{arguments.dataset_name}: {corpus.task}\n")
    if wrong_columns := find_column_problems(corpus.splits, corpus.task):
        problems += wrong_columns
        print(describe_task(corpus.task))
    else:
        print(corpus_table(corpus.splits, corpus.task))
        allowed = arguments.allow_out_of_duration or corpus.is_published
        problems += find_problems(corpus.splits, corpus.task, allow_out_of_duration=allowed)
        for split, dataset in corpus.splits.items():
            problems += find_feature_problems(dataset, arguments.feature_size, read_values=not arguments.headers_only)
            problems += find_picture_problems(dataset, split)
            problems += find_film_problems(dataset, split)
        problems += _draw(corpus, arguments.dataset_name, Path(arguments.output_dir), arguments.num_examples)
    _report(problems)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("check", __doc__)
    parser.add_argument(
        "--dataset_name",
        "--corpus",
        required=True,
        help="embedded/NAME, thumos14, activitynet, a folder or table of your own, or a Hub data set owner/name",
    )
    parser.add_argument("--data_dir", help="folder of a published corpus, or of the media files of an own table")
    parser.add_argument("--media_dir", help="folder of the videos of a published list, where that is not data_dir")
    parser.add_argument(
        "--skip_missing_files", action="store_true", help="leave out videos of a published list that are not there"
    )
    parser.add_argument("--task", help=f"default: told from the columns; one of {', '.join(TASKS)}")
    parser.add_argument(
        "--feature_size",
        type=whole_number_from(1),
        help="width that snippet features must have; default: that of the first video",
    )
    parser.add_argument(
        "--headers_only",
        action="store_true",
        help="look at the shapes of feature files only; default: read all values to find NaN and infinity",
    )
    parser.add_argument(
        "--allow_out_of_duration",
        action="store_true",
        help="segments beyond the end of their video are a warning, not an error (always so for published corpora)",
    )
    parser.add_argument(
        "--num_examples", type=whole_number_from(1), default=8, help="examples drawn of each split (default: 8)"
    )
    parser.add_argument(
        "--output_dir", default="runs/check_dataset", help="folder for SPLIT.png (default: runs/check_dataset)"
    )
    return parser.parse_args(argv)


def _draw(corpus: Corpus, name: str, folder: Path, num_examples: int) -> list[Problem]:
    problems = []
    for split, dataset in corpus.splits.items():
        if dataset.num_rows == 0:
            continue
        try:
            path = output_file(folder, split, ".png")
            figure = draw_annotations(dataset, corpus.task, num_examples, title=f"{name}, split {split}")
        except (ValueError, OSError) as error:
            problems.append(Problem("error", f"split {split!r} cannot be drawn: {error}"))
            continue
        save_figure(figure, path)
        print(f"\nwrote {path}", end="")
    print()
    return problems


def _report(problems: list[Problem]) -> None:
    print(f"\nproblems: {len(problems) or 'none'}")
    for problem in problems:
        print(f"  {problem.severity}: {problem.sentence}")
    num_errors = sum(problem.severity == "error" for problem in problems)
    if num_errors:
        raise ValueError(f"{num_errors} of the {len(problems)} problems must be mended before training")
