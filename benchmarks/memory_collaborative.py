"""How much memory do a training step and an hour of film need with Collaborative Memory, and how long does it take?

One optimiser step of the classifier on slow_r50 (a video, clips of 8 frames of 224 by 224 pixels, one thread), in
`two_pass` and in `batch_reduction`, each in a process of its own, so that its greatest resident size is that of the
step. Weights, their gradients and the optimiser's state are there before: what is printed is what the step adds. For
that the C library gives freed blocks back at once (MALLOC_MMAP_THRESHOLD_), or its fragments would be counted too. As
this takes time, time is measured in a process of its own without it.

Asked: `two_pass` needs the same at 2, 4, 8 and 16 clips, within 10 %, and takes at most 1.45 times the processor time
of `batch_reduction` with as many clips.

Then an hour of film, 1800 clips of random frames, goes through a small network one by one, twice: once to fill the
memory and once to read it. Asked: the process does not grow after the first hundred clips, by more than 10 MB, and the
answer is that of all clips at once, to 1e-5 of the greatest logit. Exit status 1 when anything asked is missed.

    python benchmarks/memory_collaborative.py
    python benchmarks/memory_collaborative.py --clips 2 4
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

MODES = ("two_pass", "batch_reduction")
FRAMES, SIZE = 8, 224
MOST_GROWTH, MOST_TIME = 1.10, 1.45
HOUR_OF_CLIPS, FIRST_CLIPS = 1800, 100
MOST_MEGABYTES, MOST_DIFFERENCE = 10.0, 1e-5


def main() -> None:
    arguments = parse_arguments()
    if arguments.mode is not None:
        print(json.dumps(measure_step(arguments.mode, arguments.clips[0], arguments.repeats)))
        return
    fits = measure_modes(arguments)
    streams = measure_hour()
    sys.exit(0 if fits and streams else 1)


def measure_modes(arguments: argparse.Namespace) -> bool:
    """Print memory and time of a step by mode and number of clips; tell whether what is asked is reached."""
    print(f"{'clips':>6}" + "".join(f"{mode + ' MB':>20}{'s':>8}" for mode in MODES) + f"{'time ratio':>12}")
    rows = []
    for num_clips in arguments.clips:
        row = [measure_in_a_process(mode, num_clips, arguments.repeats) for mode in MODES]
        rows.append(row)
        cells = "".join(f"{step['megabytes']:20.0f}{step['seconds']:8.2f}" for step in row)
        print(f"{num_clips:6}{cells}{row[0]['seconds'] / row[1]['seconds']:12.2f}", flush=True)
    sizes = [row[0]["megabytes"] for row in rows]
    growth = max(sizes) / min(sizes)
    ratio = max(row[0]["seconds"] / row[1]["seconds"] for row in rows)
    for name, value, most in (("memory", growth, MOST_GROWTH), ("time", ratio, MOST_TIME)):
        print(
            f"{'reached' if value <= most else 'MISSED'}: two_pass {name} ratio {value:.2f}, at most {most:.2f} asked"
        )
    return growth <= MOST_GROWTH and ratio <= MOST_TIME


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[2, 4, 8, 16], help="default: 2 4 8 16")
    parser.add_argument("--repeats", type=int, default=3, help="steps, of which the fastest counts (default: 3)")
    parser.add_argument("--mode", choices=MODES, help="measure one mode with one number of clips in this process")
    return parser.parse_args()


def measure_in_a_process(mode: str, num_clips: int, repeats: int) -> dict[str, float]:
    """Measure a mode in processes of its own, whose peak no earlier case has raised: memory, then time."""
    command = [sys.executable, __file__, "--mode", mode, "--clips", str(num_clips), "--repeats", str(repeats)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**18)}
    tight = subprocess.run([*command, "--repeats", "1"], check=True, capture_output=True, text=True, env=environment)
    timed = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"megabytes": json.loads(tight.stdout)["megabytes"], "seconds": json.loads(timed.stdout)["seconds"]}


def measure_step(mode: str, num_clips: int, repeats: int) -> dict[str, float]:
    """Give the megabytes that a step adds to the process at its peak, and its processor time in seconds."""
    import torch

    from hf_vidmodels import CollaborativeMemoryConfig, CollaborativeMemoryForVideoClassification, VideoResNetConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = VideoResNetConfig(arch="slow", num_frames=FRAMES, image_size=SIZE)
    config = CollaborativeMemoryConfig(
        backbone_config=backbone, num_clips=num_clips, training_mode=mode, num_labels=400
    )
    model = CollaborativeMemoryForVideoClassification(config).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    pixels, labels = torch.randn(1, num_clips, FRAMES, 3, SIZE, SIZE), torch.tensor([3])
    before, seconds = resident_megabytes(), []
    for _ in range(repeats):
        begin = time.process_time()
        model(pixels, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        seconds.append(time.process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"megabytes": peak - before, "seconds": min(seconds)}


def measure_hour() -> bool:
    """Print how a film of an hour goes through clip by clip; tell whether what is asked is reached."""
    import torch

    from hf_vidmodels import CollaborativeMemoryConfig, CollaborativeMemoryForVideoClassification

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = CollaborativeMemoryConfig.from_preset("tiny-memory")
    model = CollaborativeMemoryForVideoClassification(config).eval()

    def clip(number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(number)
        return torch.randn(1, 1, config.num_frames, 3, *config.frame_size, generator=generator)

    with torch.inference_mode():
        past, total, begin = None, torch.zeros(1, config.num_labels), time.process_time()
        for number in range(HOUR_OF_CLIPS):
            past = model(clip(number), past_memory=past).memory
            if number == FIRST_CLIPS:
                after_the_first = resident_megabytes()
        for number in range(HOUR_OF_CLIPS):
            total += model(clip(number), past_memory=past, update_memory=False).logits
        grown, seconds = resident_megabytes() - after_the_first, time.process_time() - begin
        at_once = model(torch.cat([clip(number) for number in range(HOUR_OF_CLIPS)], dim=1)).logits
    difference = float((total / HOUR_OF_CLIPS - at_once).abs().max() / at_once.abs().max())
    reached = grown <= MOST_MEGABYTES and difference <= MOST_DIFFERENCE
    print(
        f"{'reached' if reached else 'MISSED'}: {HOUR_OF_CLIPS} clips one by one in {seconds:.1f} s, {grown:+.1f} MB "
        f"since clip {FIRST_CLIPS}, at most {MOST_MEGABYTES:.0f} asked; {difference:.1e} of the greatest logit from "
        f"all clips at once, at most {MOST_DIFFERENCE:.0e} asked"
    )
    return reached


def resident_megabytes() -> float:
    """Give the memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
