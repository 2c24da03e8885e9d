"""Upload the folder of a finished run, or of a saved and exported model, to the Hugging Face Hub.

The folder is checked first: safetensors weights, config.json with the code that it names, and a card; no pickles, no
access tokens. Training checkpoints and the files of trackers stay at home. Everything arrives in one commit or not at
all; requests that fail for a passing reason are repeated, and running the command again continues where it stopped.

    hf auth login                                                                    once, with a token that may write
    hf-vidmodels push --folder runs/digits --repo_id you/asm-loc-digits --dry_run      shows what would go
    hf-vidmodels push --folder runs/digits --repo_id you/asm-loc-digits --private
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..command_line import command_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and upload, or list what would be uploaded."""
    parser = command_parser("push", __doc__)
    parser.add_argument("--folder", required=True, help="output_dir of a finished run, or a saved and exported model")
    parser.add_argument("--repo_id", required=True, help="repository to upload to, such as you/asm-loc-digits")
    parser.add_argument(
        "--private",
        action=argparse.BooleanOptionalAction,
        help="whether a new repository is private (by default as its owner has set); an existing one is not changed",
    )
    parser.add_argument("--revision", help="branch to upload to, made when missing (by default the main branch)")
    parser.add_argument("--commit_message", help="first line of the commit")
    parser.add_argument(
        "--max_retries", type=int, default=4, help="how often a failing request is repeated (default: %(default)s)"
    )
    parser.add_argument("--dry_run", action="store_true", help="check the folder and list what would be uploaded")
    arguments = parser.parse_args(argv)
    if arguments.dry_run:
        show_files(Path(arguments.folder), arguments.repo_id)
        return
    from ..hub.push import push_folder

    address = push_folder(
        arguments.folder,
        arguments.repo_id,
        private=arguments.private,
        revision=arguments.revision,
        commit_message=arguments.commit_message,
        max_retries=arguments.max_retries,
    )
    print(f"uploaded {arguments.folder} to {address}")


def show_files(folder: Path, repo_id: str) -> None:
    """Print size and name of each file that would be uploaded."""
    from ..hub.push import check_repo_id
    from ..hub.repository_folder import check_folder

    check_repo_id(repo_id)
    files = check_folder(folder)
    sizes = [(folder / name).stat().st_size for name in files]
    for name, size in zip(files, sizes, strict=True):
        print(f"{size:>14,} bytes  {name}")
    print(f"would upload {len(files)} files, {sum(sizes):,} bytes, to {repo_id}; nothing was sent")
