"""Render the model cards kept in this repository from the folders of finished runs. Cards are never edited by hand."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.card_command import main

if __name__ == "__main__":
    run(main)
