#!/usr/bin/env bash
# The main job, end to end, on the embedded corpus: train ASM-Loc step by step, print its mAP, draw timelines, save a
# Hub-ready folder, then load that folder in a new process and localise actions in a real video file.
# Usage: scripts/demo.sh [OUTPUT_DIR]     (`make demo` prepares the environment and calls it)
set -euo pipefail
cd "$(dirname "$0")/.."
output_dir="${1:-runs/demo}"

accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
    --num_cpu_threads_per_process 1 \
    scripts/train.py --recipe asm_loc/embedded --output_dir "$output_dir" \
    --overwrite_output_dir --report_to tensorboard

video="$(python -c 'from hf_vidmodels.data.corpora import load_corpus
print(load_corpus("embedded/untrimmed", split="test")[0]["video"])')"
python scripts/predict.py --model "$output_dir" --input "$video" --output_dir "$output_dir/predictions" --top_k 10

echo
echo "The model, its card and its pictures are in $output_dir; look at:"
echo "  $output_dir/README.md                 the model card"
echo "  $output_dir/figures/timelines.png     what was found in four test videos"
echo "  $output_dir/predictions/*.html        a video played over its timeline"
