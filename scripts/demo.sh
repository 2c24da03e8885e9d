#!/usr/bin/env bash
# The main job, end to end, on the embedded corpus: train ASM-Loc step by step, print its mAP, draw timelines, save a
# Hub-ready folder, then load that folder in a new process and localise actions in a real video file.
# Usage: scripts/demo.sh [OUTPUT_DIR]     (`make demo` prepares the environment and calls it)
set -euo pipefail
cd "$(dirname "$0")/.."
output_dir="${1:-runs/demo}"
begin=$SECONDS
# One thread, so that the numbers are the same on every machine.
export OMP_NUM_THREADS=1

say() {
    printf '\n== %s (after %d s)\n' "$1" "$((SECONDS - begin))"
}

say "1 of 3: the corpus: 110 videos of moving digits are drawn, once for all later runs"
# The test video with the most true segments, whatever the network will make of it.
video="$(python -c 'from hf_vidmodels.data.corpora import load_corpus
print(max(load_corpus("embedded/untrimmed-small", split="test"), key=lambda row: len(row["segments"]))["video"])')"

say "2 of 3: training: features of optical flow first, then two networks, the second on what the first one found"
hf-vidmodels train --recipe asm_loc/demo --output_dir "$output_dir" --overwrite_output_dir --report_to tensorboard

say "3 of 3: prediction: the finished folder is loaded again and shown a test video, $(basename "$video")"
hf-vidmodels predict --model "$output_dir" --input "$video" --output_dir "$output_dir/predictions" --top_k 10 \
    --truth embedded/untrimmed-small --embed_video

say "done: the model, its card and its pictures are in $output_dir; look at"
echo "  $output_dir/README.md                 the model card"
echo "  $output_dir/figures/timelines.png     what was found in four test videos"
echo "  $output_dir/predictions/*.png         the truth of one video above what was found in it"
echo "  $output_dir/predictions/*.html        the same with the video, in one file that plays wherever it is copied to"
