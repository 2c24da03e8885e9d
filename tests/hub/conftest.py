"""Folders that look like finished runs, and a Hub on loopback."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fake_hub import TOKEN, FakeHub
from hf_vidmodels.auto import METHODS, Method
from hf_vidmodels.hub.cards import write_card
from hf_vidmodels.hub.code_export import export_code
from method_examples import EXAMPLES

# Per kind of processor an input of it as made without arguments, and the output to compare.
PROCESSOR_EXAMPLES = {
    "AutoFeatureExtractor": (np.random.default_rng(1).standard_normal((9, 2048), dtype=np.float32), "input_features"),
    "AutoImageProcessor": (np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8), "pixel_values"),
    "AutoVideoProcessor": (np.random.default_rng(1).integers(0, 256, (20, 40, 60, 3), dtype=np.uint8), "pixel_values"),
}


@dataclass
class Checkpoint:
    """A saved and exported model of a method, and what it answers in the process that saved it."""

    method: Method
    folder: Path
    batch: Path
    expected: Path
    processor_input: Path
    processor_expected: Path
    processor_output: str

    def jobs(self, name_or_path, again):
        """Jobs for `open_checkpoints.py`: open the model and the processor, and save them again into `again`."""
        model = {"kind": "model", "again": f"{again}", "batch": str(self.batch), "expected": str(self.expected)}
        processor = {
            "kind": "processor",
            "again": f"{again}/processor",
            "auto_class": self.method.processor_auto_class.__name__,
            "input": str(self.processor_input),
            "expected": str(self.processor_expected),
            "output": self.processor_output,
        }
        return [{"folder": str(name_or_path), **job} for job in (model, processor)]


@pytest.fixture
def hub(monkeypatch):
    """A fake Hub that this process's client talks to."""
    with FakeHub() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "*")
        yield server


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """One checkpoint per method, never written to by tests."""
    return [make_checkpoint(method, tmp_path_factory.mktemp(method.stem)) for method in METHODS]


@pytest.fixture(scope="session")
def finished_checkpoint(tmp_path_factory):
    """The checkpoint of a run of ASM-Loc, complete but tiny, never written to by tests."""
    checkpoint = make_checkpoint(METHODS[0], tmp_path_factory.mktemp("runs") / "asm-loc-digits")
    write_run_files(checkpoint.folder)
    write_card(checkpoint.folder)
    return checkpoint


@pytest.fixture(scope="session")
def finished_run(finished_checkpoint):
    """The folder of that run."""
    return finished_checkpoint.folder


def make_checkpoint(method, folder):
    torch.manual_seed(0)
    example = EXAMPLES[method.stem]
    model, processor = method.primary_class(example.config()).eval(), method.processor_class()
    with torch.no_grad():
        logits = model(**example.batch()).logits
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    export_code(model, folder, [processor])
    source, output = PROCESSOR_EXAMPLES[method.processor_auto_class.__name__]
    found = Checkpoint(
        method=method,
        folder=folder,
        batch=folder.parent / f"{folder.name}-batch.pt",
        expected=folder.parent / f"{folder.name}-logits.pt",
        processor_input=folder.parent / f"{folder.name}-input.npy",
        processor_expected=folder.parent / f"{folder.name}-output.npy",
        processor_output=output,
    )
    torch.save(example.batch(), found.batch)
    torch.save(logits, found.expected)
    np.save(found.processor_input, source)
    np.save(found.processor_expected, processor(source, return_tensors="np")[output])
    return found


def write_run_files(folder):
    """What `training/run_files.py` writes, with numbers that occur nowhere else."""
    run = {
        "method": "asm_loc",
        "recipe": "asm_loc/embedded",
        "command": "scripts/train.py --recipe asm_loc/embedded --output_dir runs/asm-loc-digits --seed 7919",
        "seed": 7919,
        "world_size": 2,
        "gradient_accumulation_steps": 3,
        "mixed_precision": "no",
        "git_commit": "5c11cfd0a9b8",
        "versions": {"python": "3.11.7", "torch": "2.14.1", "transformers": "5.23.0"},
        "hardware": {"cpu": "Imaginary Processor 9600", "cores": 6, "gpu": None},
        "started": "2031-05-17T08:09:10+00:00",
        "wall_time_s": 241.837,
        "num_parameters": 1234567,
        "corpus": "embedded/untrimmed",
        "num_train_examples": 137,
        "stages": [
            {"name": "step0", "epochs": 11, "steps": 187, "wall_time_s": 95.21},
            {"name": "step1", "epochs": 12, "steps": 204, "wall_time_s": 141.06},
        ],
    }
    metrics = {
        "task": "temporal-action-localization",
        "corpus": "embedded/untrimmed",
        "split": "test",
        "num_examples": 53,
        "primary_metric": "average_mAP",
        "metrics": {"mAP@0.3": 0.61234567, "mAP@0.5": 0.4372911, "average_mAP": 0.52481839},
        "tables": [
            {
                "title": "mAP per tIoU threshold, 53 test videos",
                "columns": ["step", "0.30", "0.50", "average"],
                "rows": [["0 (base)", 0.5512, 0.3318, 0.44150001], ["1", 0.61234567, 0.4372911, 0.52481839]],
            }
        ],
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    recipe = {"method": "asm_loc", "num_train_epochs": 11, "learning_rate": 0.00013}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    losses = [("step0", 1.7321), ("step0", 0.8166), ("step1", 0.7745), ("step1", 0.3921)]
    lines = [
        {"stage": stage, "epoch": 1, "step": 10, "loss": loss, "learning_rate": 0.00013} for stage, loss in losses
    ]
    (folder / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "figures").mkdir()
    for name in ("loss_curve", "timelines"):
        (folder / "figures" / f"{name}.png").write_bytes(b"\x89PNG, not really: " + name.encode())
    for name in ("checkpoints/last", "runs/tensorboard"):
        (folder / name).mkdir(parents=True)
        (folder / name / "state.pt").write_bytes(b"a pickle")
