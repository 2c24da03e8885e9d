"""Upload the folder of a finished run, or of a saved and exported model, to the Hugging Face Hub."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.push_command import main

if __name__ == "__main__":
    run(main)
