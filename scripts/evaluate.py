"""Score a trained model on a split of a corpus by its task's metrics."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.evaluate_command import main

if __name__ == "__main__":
    run(main)
