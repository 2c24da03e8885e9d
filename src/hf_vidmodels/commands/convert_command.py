"""Convert a checkpoint of a method's official code into a folder that `AutoModel.from_pretrained` opens.

Example (ASM-Loc; the checkpoint is the released folder, or its files in order, base network first):
    hf-vidmodels convert --method asm_loc --checkpoint ASM-Loc/ckpt/THUMOS \
        --official_config options.json --output_dir asm-loc-thumos

options.json holds the official options by their own names, at least what decides the network's shape:
    {"dataset": "THUMOS", "num_steps": 3}
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..atomic_io import atomic_directory, read_json_object
from ..command_line import command_parser, quiet_libraries
from ..conversion.convert_checkpoint import convert_official_checkpoint, converted_methods


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("convert", __doc__)
    parser.add_argument("--method", required=True, choices=converted_methods(), help="the method's name")
    parser.add_argument(
        "--checkpoint", required=True, nargs="+", help="file (.pth, .safetensors), folder, or the files of a cascade"
    )
    parser.add_argument("--official_config", required=True, type=Path, help="JSON file with the official options")
    parser.add_argument("--output_dir", required=True, type=Path, help="new or empty folder for the converted model")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert and save model and processor; the folder appears complete or not at all."""
    args = parse_arguments(argv)
    from ..auto import method_of

    quiet_libraries()
    if args.output_dir.exists() and (not args.output_dir.is_dir() or any(args.output_dir.iterdir())):
        raise ValueError(f"output_dir {args.output_dir} exists and is not an empty folder; choose another")
    official_config = read_json_object(args.official_config, "the official options")
    checkpoint = args.checkpoint[0] if len(args.checkpoint) == 1 else args.checkpoint
    model = convert_official_checkpoint(args.method, checkpoint, official_config)
    with atomic_directory(args.output_dir) as folder:
        model.save_pretrained(folder)
        method_of(model.config).processor_class.from_config(model.config).save_pretrained(folder)
    print(f"converted {model.num_parameters():,} parameters of {type(model).__name__} into {args.output_dir}")
