"""Make snippet features of a folder of videos: the input of temporal action localisation."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.extract_command import main

if __name__ == "__main__":
    run(main)
