"""Train a method by its recipe; see `hf-vidmodels train --help`."""

import sys
from collections.abc import Sequence

from ..command_line import quiet_libraries
from ..optional_packages import require
from ..training.argument_parser import parse_command_line


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    recipe_class, args = parse_command_line(sys.argv[1:] if argv is None else argv)
    # Told now, and not when the figures are drawn at the end of a run.
    require("matplotlib", "drawing the figures of a run")
    from ..training.loop import run as train

    quiet_libraries()
    train(recipe_class(args), args)
