"""Make instance masks from boxes: a COCO annotation file and a folder of pictures in, the same file with masks out."""

from hf_vidmodels.command_line import run
from hf_vidmodels.commands.label_command import main

if __name__ == "__main__":
    run(main)
