"""Render the model cards kept in this repository from the folders of finished runs. Cards are never edited by hand.

For each run this writes model_cards/NAME.md and its pictures to model_cards/NAME/figures/. All numbers come from the
run's files. NAME is the folder's name unless it is given.

    hf-vidmodels card runs/asm-loc-digits
    hf-vidmodels card asm-loc-digits=runs/a asm-loc-thumos=runs/b --output_dir model_cards
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..atomic_io import atomic_write
from ..command_line import command_parser
from ..output_files import refuse_inputs_as_outputs


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and render."""
    parser = command_parser("card", __doc__)
    parser.add_argument("runs", nargs="+", metavar="[NAME=]FOLDER", help="folder of a finished run, optionally named")
    parser.add_argument("--output_dir", default="model_cards", help="where cards go (default: %(default)s)")
    arguments = parser.parse_args(argv)
    named_runs = [name_and_folder(text) for text in arguments.runs]
    names, output_dir = [name for name, _ in named_runs], Path(arguments.output_dir)
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"several runs are named {', '.join(sorted(repeated))}; give names as NAME=FOLDER")
    refuse_inputs_as_outputs([output_dir / name for name in names], [folder for _, folder in named_runs])
    for name, folder in named_runs:
        print(f"wrote {write_named_card(name, folder, output_dir)}")


def name_and_folder(text: str) -> tuple[str, Path]:
    """Split `NAME=FOLDER`; a folder alone gives its own name."""
    name, equals, folder = text.partition("=")
    folder = Path(folder if equals else text)
    name = name if equals else folder.resolve().name
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"a card cannot be named {name!r}: use letters, digits, '-', '_' and '.'")
    return name, folder


def write_named_card(name: str, folder: Path, output_dir: Path) -> Path:
    """Render one card with its pictures beside it and return its path."""
    from ..hub.cards import render_card

    card = render_card(folder).replace("](figures/", f"]({name}/figures/")
    shutil.rmtree(output_dir / name, ignore_errors=True)
    if (folder / "figures").is_dir():
        shutil.copytree(folder / "figures", output_dir / name / "figures")
    path = output_dir / f"{name}.md"
    with atomic_write(path, "w") as file:
        file.write(card)
    return path
