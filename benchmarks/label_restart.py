"""Kill a labelling run with SIGKILL at random moments, go on each time, and compare with a run that nobody disturbed.

500 embedded pictures, a small MAL with random weights (the masks do not matter, their bytes do). The starts use one
and two processes in turn. Every start is killed, with all its processes, at a random moment after it began to write
masks; the last one may finish. Then both outputs are compared byte by byte:
    python benchmarks/label_restart.py
    python benchmarks/label_restart.py --kills 5 --seed 1 --pictures 200
The command fails when the files differ.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from hf_vidmodels import MalConfig, MalForMaskLabeling, MalImageProcessor
from hf_vidmodels.command_line import run
from hf_vidmodels.data.embedded.embedded_corpora import load_embedded_corpus
from hf_vidmodels.data.embedded.embedded_pictures import BOXES
from hf_vidmodels.data.instances.coco_content import write_instance_file

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "label_masks.py"
TWO_PROCESSES = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"),
    *("--config_file", str(ROOT / "scripts" / "accelerate" / "cpu_two_processes.yaml")),
]
CONFIG = {
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "pretrain_image_size": 128,
    "image_size": 128,
    "mask_head_hidden_size": 64,
    "mask_embed_size": 64,
}


def main() -> None:
    """Read the command line, label undisturbed and disturbed, compare."""
    arguments = parse_arguments()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options = make_input(folder, arguments.pictures)
        started = time.perf_counter()
        subprocess.run(command(options, folder / "whole.json", 1), env=environment(), check=True)
        seconds = time.perf_counter() - started
        print(f"\nundisturbed: {seconds:.1f} s")
        output = folder / "killed.json"
        for number in range(arguments.kills):
            processes = 1 + number % 2
            written, waited = start_and_kill(command(options, output, processes), output, rng, seconds)
            print(
                f"kill {number + 1}: {processes} process{'es' * (processes > 1)}, {waited:.2f} s after the first "
                f"masks of this start, {written} portions in the journal"
            )
        subprocess.run(command(options, output, 1 + arguments.kills % 2), env=environment(), check=True)
        whole, killed = (folder / "whole.json").read_bytes(), output.read_bytes()
        print(f"\n{len(whole)} bytes undisturbed, {len(killed)} bytes after {arguments.kills} kills")
        if whole != killed:
            sys.exit("the files differ")
        print("the files are identical")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500, help="pictures to label (default: 500)")
    parser.add_argument("--kills", type=int, default=3, help="how often (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    return parser.parse_args()


def make_input(folder: Path, num_pictures: int) -> list[str]:
    """Write model, pictures and annotations; give the options of the command that name them."""
    torch.manual_seed(0)
    model = MalForMaskLabeling(MalConfig(**CONFIG))
    model.save_pretrained(folder / "model")
    MalImageProcessor.from_config(model.config).save_pretrained(folder / "model")
    parameters = {**vars(BOXES), "splits": (("train", num_pictures),)}
    pictures = load_embedded_corpus("boxes", cache_dir=folder, split="train", parameters=type(BOXES)(**parameters))
    images = write_instance_file(pictures, folder / "boxes.json")
    return ["--model", str(folder / "model"), "--annotations", str(folder / "boxes.json"), "--images", str(images)]


def command(options: list[str], output: Path, num_processes: int) -> list[str]:
    """Give the command line of a labelling run."""
    launcher = [sys.executable] if num_processes == 1 else TWO_PROCESSES
    return [*launcher, str(SCRIPT), *options, "--output", str(output), "--device", "cpu"]


def environment() -> dict[str, str]:
    """Give the variables of a labelling run."""
    return {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def start_and_kill(words: list[str], output: Path, rng: random.Random, seconds: float) -> tuple[int, float]:
    """Start a run, kill it some time after it has written something.

    Returns:
        Portions in the journal, and the seconds waited.

    Raises:
        ValueError: the run ended before.
    """
    journal = output.with_name(f"{output.name}.journal")
    before = size_of(journal)
    with subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL) as process:
        while size_of(journal) <= before:
            if process.poll() is not None:
                raise ValueError(f"the run ended with status {process.returncode} before it could be killed")
            time.sleep(0.001)
        waited = rng.uniform(0, seconds / 8)
        time.sleep(waited)
        # The launcher puts its processes into sessions of their own, so they are killed one by one.
        launcher = psutil.Process(process.pid)
        for member in (launcher, *launcher.children(recursive=True)):
            member.kill()
    return sum(path.read_bytes().count(b'"portion"') for path in journal.glob("records-*")), waited


def size_of(journal: Path) -> int:
    """Count the bytes of all records."""
    return sum(path.stat().st_size for path in journal.glob("records-*"))


if __name__ == "__main__":
    run(main)
