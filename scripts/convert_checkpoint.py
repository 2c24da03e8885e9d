"""Convert a checkpoint of a method's official code into a folder that `AutoModel.from_pretrained` opens."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.convert_command import main

if __name__ == "__main__":
    run(main)
