"""Run a trained model on a file or a folder; draw what it finds, by the task that the model is for."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.predict_command import main

if __name__ == "__main__":
    run(main)
