"""`hf-vidmodels COMMAND ...`, also `python -m hf_vidmodels COMMAND ...`: every command of the package by its name.

Only the module of the command that is called is imported, so that help comes at once.
"""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

from .__about__ import __version__

PROGRAM = "hf-vidmodels"


class Command(NamedTuple):
    """Where a command is, what it does, and whether several processes can share its work."""

    module: str
    summary: str
    is_shared: bool = False


COMMANDS = {
    "train": Command("train_command", "train a method by its recipe", is_shared=True),
    "evaluate": Command("evaluate_command", "score a model on a split of a corpus", is_shared=True),
    "predict": Command("predict_command", "run a model on files and draw what it finds", is_shared=True),
    "label": Command("label_command", "make instance masks for a COCO file that has boxes", is_shared=True),
    "extract": Command("extract_command", "make snippet features of videos"),
    "check": Command("check_command", "check a corpus and draw some of its annotations"),
    "convert": Command("convert_command", "convert a checkpoint of a method's official code"),
    "push": Command("push_command", "upload the folder of a run to the Hugging Face Hub"),
    "card": Command("card_command", "render model cards from the folders of runs"),
    "env": Command("env_command", "print what a report of a fault needs: versions, devices, decoders"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first word names on the rest of the words.

    Input that does not fit ends the process with status 2 and one sentence.

    Args:
        argv: words after the program's name; those of this process by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(help_text())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(__version__)
        return
    from .command_line import run

    run(lambda: run_command(words[0], words[1:]))


def run_command(name: str, words: Sequence[str]) -> None:
    """Run one command, in several processes where options of the launcher ask for them.

    Raises:
        ValueError: when there is no such command; and what the command raises.
    """
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are: {', '.join(COMMANDS)}"
        raise ValueError(f"{PROGRAM} has no command {name!r}; {hint}")
    command = COMMANDS[name]
    if command.is_shared:
        from .commands.launching.launcher import launch, split_off_launcher_options

        options, words = split_off_launcher_options(words)
        if options and not {"-h", "--help"} & set(words):
            launch(name, options, words)
            return
    # The record of a run says by it how it was started.
    sys.argv = [PROGRAM, name, *words]
    import_module(f"hf_vidmodels.commands.{command.module}").main(words)


def help_text() -> str:
    """Give the page that lists the commands."""
    from .commands.launching.launcher import describe_launcher_options

    commands = "\n".join(f"  {name:10}{command.summary}" for name, command in COMMANDS.items())
    shared = [name for name, command in COMMANDS.items() if command.is_shared]
    return (
        f"usage: {PROGRAM} COMMAND [OPTIONS]\n\n"
        "Published video and vision methods as Hugging Face models.\n\n"
        f"{commands}\n\n"
        f"{PROGRAM} COMMAND --help explains the options of a command; {PROGRAM} --version prints the version.\n\n"
        f"{', '.join(shared[:-1])} and {shared[-1]} also run in several processes, by options of Accelerate's "
        f"launcher:\n"
        f"{describe_launcher_options()}"
    )


if __name__ == "__main__":
    main()
