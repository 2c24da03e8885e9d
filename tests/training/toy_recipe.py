"""A small recipe with what a method can ask of the loop: two stages, files between them, a teacher, randomness."""

import copy
import json
import os
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedConfig, PreTrainedModel

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.training.arguments import TrainingArguments, argument
from hf_vidmodels.training.recipe import Evaluation, Recipe
from hf_vidmodels.training.seeding import sample_generator
from hf_vidmodels.training.stage_plan import Stage

NUM_SAMPLES, WIDTH = 14, 4


@dataclass
class ToyArguments(TrainingArguments):
    """Fields of the toy."""

    dropout: float = argument(0.3, "Dropout rate.")
    noise: float = argument(0.2, "Standard deviation of the augmentation.")
    bad_sample: int | None = argument(None, "A sample whose target is not a number.")
    bad_from_epoch: int = argument(0, "Epoch of the run from which it is so.")
    batch_norm: bool = argument(True, "Whether the networks have running statistics.")
    step_seconds: float = argument(0.0, "Time that a step takes at least.", changes_result=False)
    lr_by_layer: list[float] | None = argument(None, "Learning rates of the first and the second layer.")
    num_samples: int = argument(NUM_SAMPLES, "Size of the training data.")


class ToyConfig(PreTrainedConfig):
    """Configuration of the toy."""

    model_type = "toy_of_the_training_tests"


class ToyModel(PreTrainedModel):
    """A base network and a refiner, as a cascade has them."""

    config_class = ToyConfig

    def __init__(self, config: ToyConfig, dropout: float = 0.0, batch_norm: bool = True):
        super().__init__(config)
        self.base, self.refiner = (
            nn.Sequential(
                nn.Linear(WIDTH, 8),
                nn.BatchNorm1d(8) if batch_norm else nn.Identity(),
                nn.Tanh(),
                nn.Dropout(dropout),
                nn.Linear(8, 1),
            )
            for _ in range(2)
        )
        self.post_init()


class ToyData(Dataset):
    """Noisy inputs and their targets."""

    def __init__(self, inputs, targets, args):
        self.inputs, self.targets, self.args = inputs, targets, args

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, key):
        epoch, index = key
        draw = sample_generator(self.args.seed, epoch, index).standard_normal(WIDTH)
        target = self.targets[index]
        if index == self.args.bad_sample and epoch >= self.args.bad_from_epoch:
            target = np.float32("nan")
        return {"inputs": self.inputs[index] + self.args.noise * draw.astype(np.float32), "targets": target}


class ToyRecipe(Recipe):
    """Train the base on true targets, then the refiner on the base's answers and a moving teacher's."""

    method = "toy_recipe:ToyRecipe"
    task = "toy-task"
    arguments_class = ToyArguments

    def prepare_data(self):
        draws = np.random.default_rng(0).standard_normal((self.args.num_samples, WIDTH)).astype(np.float32)
        self.inputs, self.targets = draws, np.sin(draws.sum(axis=1))

    def build_model(self):
        return ToyModel(ToyConfig(), self.args.dropout, self.args.batch_norm)

    def stages(self):
        return [Stage("base"), Stage("refiner")]

    def start_stage(self, model, stage_index):
        module = (model.base, model.refiner)[stage_index]
        self.teacher = copy.deepcopy(module).requires_grad_(False).eval()
        return module

    def train_dataset(self, stage_index):
        targets = self.targets
        if stage_index == 1:
            targets = np.array(json.loads((self.work_dir / "answers.json").read_text()), dtype=np.float32)
        return ToyData(self.inputs, targets, self.args)

    def parameter_groups(self, module, stage_index):
        if self.args.lr_by_layer is None:
            return super().parameter_groups(module, stage_index)
        first, last = self.args.lr_by_layer
        return [
            {"params": list(module[:3].parameters()), "lr": first, "name": "first"},
            {"params": list(module[3:].parameters()), "lr": last},
        ]

    def step(self, module, batch, progress):
        time.sleep(self.args.step_seconds)
        answers = module(batch["inputs"])[:, 0]
        error = ((answers - batch["targets"]) ** 2).mean()
        with torch.no_grad():
            teacher_answers = self.teacher(batch["inputs"])[:, 0]
        agreement = ((answers - teacher_answers) ** 2).mean()
        share = progress.step / progress.total_steps
        return error + share * agreement, {"loss_agreement": agreement.detach()}

    def after_step(self, module, progress):
        source = self.accelerator.unwrap_model(module)
        with torch.no_grad():
            for teacher, student in zip(self.teacher.parameters(), source.parameters(), strict=True):
                teacher.lerp_(student, 0.1)

    def finish_stage(self, model, stage_index):
        if stage_index == 0 and self.accelerator.is_main_process:
            answers = model.base(torch.as_tensor(self.inputs))[:, 0]
            write_json(self.work_dir / "answers.json", answers.tolist())

    def state_dict(self):
        return {"teacher": self.teacher.state_dict()}

    def load_state_dict(self, state):
        self.teacher.load_state_dict(state["teacher"])

    def evaluate(self, model, stage_index, *, final):
        network = model.base if stage_index == 0 else model.refiner
        error = ((network(torch.as_tensor(self.inputs))[:, 0] - torch.as_tensor(self.targets)) ** 2).mean()
        closeness = 1 / (1 + error.item())
        return Evaluation(
            metrics={"closeness": closeness, "error": error.item()},
            primary_metric="closeness",
            split="train",
            num_examples=len(self.inputs),
            tables=[{"title": "Closeness", "columns": ["network", "closeness"], "rows": [["refiner", closeness]]}]
            if final
            else [],
            predictions={"pid": os.getpid()} if final else None,
        )
