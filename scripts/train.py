"""Train a method by its recipe; see `python scripts/train.py --help`."""

import sys

from hf_vidmodels.command_line import run
from hf_vidmodels.training.argument_parser import parse_command_line
from hf_vidmodels.training.loop import run as train


def main() -> None:
    """Parse the command line and train."""
    recipe_class, args = parse_command_line(sys.argv[1:])
    train(recipe_class(args), args)


if __name__ == "__main__":
    run(main)
