"""Check a corpus and draw some of its annotations before anyone trains on it."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.check_command import main

if __name__ == "__main__":
    run(main)
