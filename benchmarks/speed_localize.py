"""Time and memory of ASM-Loc's `localize`, videos one by one and in padded batches, in one run.

    python benchmarks/speed_localize.py [--hidden_size 512] [--videos 8] [--batch_size 4]

The model has random weights, the THUMOS-14 cascade of four networks and 750 snippets. Reported are seconds per video
one by one and in batches (the answers must agree), their ratio, and by how much the process grew at its peak.
"""

import argparse
import resource
import time

import numpy as np
import torch

from hf_vidmodels import AsmLocConfig, AsmLocForTemporalActionLocalization


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden_size", type=int, default=512, help="width; the published models have 2048")
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=4)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = AsmLocForTemporalActionLocalization(AsmLocConfig(hidden_size=arguments.hidden_size)).eval()
    generator = np.random.default_rng(0)
    lengths = generator.integers(400, 1500, arguments.videos)
    videos = [generator.standard_normal((length, arguments.hidden_size), dtype=np.float32) for length in lengths]
    model.localize(videos[0])
    before = peak_memory()
    seconds_single, single = timed(lambda: [model.localize(video)[0] for video in videos])
    seconds_batch, batch = timed(lambda: model.localize(videos, batch_size=arguments.batch_size))
    for one, other in zip(single, batch, strict=True):
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-4)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"cascade of {len(model.steps)} networks, {parameters / 1e6:.1f} M parameters, {arguments.videos} videos")
    print(f"one by one:     {seconds_single / arguments.videos:.3f} s per video")
    print(f"in batches of {arguments.batch_size}: {seconds_batch / arguments.videos:.3f} s per video")
    print(f"ratio:          {seconds_single / seconds_batch:.2f}")
    print(f"peak memory beyond the loaded model: {peak_memory() - before:.0f} MiB")


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def peak_memory() -> float:
    """Return the peak resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
