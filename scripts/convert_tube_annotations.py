"""Convert the pickled annotations of UCF101-24 or JHMDB-21 to JSON, which `load_corpus` reads.

`UCF101v2-GT.pkl` has the corrected annotations, `UCF101-GT.pkl` the original ones. Pickles can run code: this one is
opened by an unpickler that makes arrays, numbers and strings and refuses anything else.

    python scripts/convert_tube_annotations.py UCF101v2-GT.pkl data/ucf24/UCF101v2-GT.json
"""

import argparse

from hf_vidmodels.command_line import run
from hf_vidmodels.data.published.tube_annotations import convert_tube_annotations


def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickle", help="the pickled annotations")
    parser.add_argument("json", help="JSON file to write, with the name of the pickle")
    arguments = parser.parse_args()
    convert_tube_annotations(arguments.pickle, arguments.json)
    print(f"wrote {arguments.json}")


if __name__ == "__main__":
    run(main)
