"""Train a method by its recipe; see `python scripts/train.py --help`."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.train_command import main

if __name__ == "__main__":
    run(main)
