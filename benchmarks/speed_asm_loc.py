"""All speed measurements of ASM-Loc in turn: mAP evaluator, post-processing, networks, `localize`.

    python benchmarks/speed_asm_loc.py

Each part is a script of its own that compares with a reference in the same run; exit status 1 when one misses its
target.
"""

from benchmark_parts import run_parts

PARTS = ("speed_temporal_map.py", "speed_post_processing.py", "speed_asm_loc_network.py", "speed_localize.py")

if __name__ == "__main__":
    run_parts(PARTS)
