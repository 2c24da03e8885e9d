"""All speed measurements of MAL in turn: attention and mean field, labelling of whole files.

    python benchmarks/speed_mal.py

Each part is a script of its own that compares with a reference in the same run; exit status 1 when one misses its
target.
"""

from benchmark_parts import run_parts

PARTS = ("speed_mal_network.py", "speed_label_masks.py")

if __name__ == "__main__":
    run_parts(PARTS)
