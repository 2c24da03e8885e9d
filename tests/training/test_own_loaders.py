"""Methods with loaders of their own: two streams in a batch, and several optimiser steps per video with a memory."""

import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from toy_recipe import NUM_SAMPLES, ToyRecipe

from hf_vidmodels.training.seeding import epoch_order

NUM_CLIPS, NUM_LABELLED, NUM_UNLABELLED = 3, 2, 1


class ClipsOfVideosWithUnlabelledOnes:
    """Yields, for two videos at a time, one batch per clip, each with a sample of another stream."""

    batch_size = NUM_LABELLED + NUM_UNLABELLED

    def __init__(self, seed):
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return NUM_SAMPLES // NUM_LABELLED * NUM_CLIPS

    def __iter__(self):
        videos = epoch_order(self.seed, self.epoch, NUM_SAMPLES).reshape(-1, NUM_LABELLED)
        unlabelled = epoch_order(self.seed + 1, self.epoch, len(self))
        for number in range(len(self)):
            pair, clip = divmod(number, NUM_CLIPS)
            labelled = [(self.epoch, clip, int(video)) for video in videos[pair]]
            yield [*labelled, (self.epoch, None, int(unlabelled[number]) % NUM_SAMPLES)]


class MemoryRecipe(ToyRecipe):
    """Adds to each clip's answer what was answered for the video's earlier clips."""

    def train_dataloader(self, stage_index):
        dataset = self.train_dataset(stage_index)
        batches = ClipsOfVideosWithUnlabelledOnes(self.args.seed)
        self.memory = torch.zeros(NUM_LABELLED) if not hasattr(self, "memory") else self.memory
        return DataLoader(_Clips(dataset), batch_sampler=batches, num_workers=self.args.dataloader_num_workers)

    def step(self, module, batch, progress):
        answers = module(batch["inputs"])[:, 0]
        labelled, unlabelled = answers[:NUM_LABELLED], answers[NUM_LABELLED:]
        if batch["clip"][0] == 0:
            self.memory = torch.zeros(NUM_LABELLED)
        error = ((labelled + 0.5 * self.memory - batch["targets"][:NUM_LABELLED]) ** 2).mean()
        self.memory = self.memory + labelled.detach()
        return error + 0.1 * (unlabelled**2).mean(), {}

    def state_dict(self):
        return super().state_dict() | {"memory": self.memory}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.memory = state["memory"]


class _Clips:
    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, key):
        epoch, clip, index = key
        item = self.dataset[(epoch, index)]
        return item | {"inputs": item["inputs"] * np.float32(1 + (clip or 0)), "clip": -1 if clip is None else clip}


def test_a_run_stopped_between_two_clips_of_a_video_goes_on_with_its_memory(train, tmp_path):
    settings = {"num_train_epochs": 1, "gradient_accumulation_steps": 1}
    expected = train(tmp_path / "run", MemoryRecipe, **settings)
    for name in ("base-2", "refiner-26"):
        folder = tmp_path / name
        for part in ("work", name):
            shutil.copytree(tmp_path / "run" / "checkpoints" / part, folder / "checkpoints" / part)
        found = train(folder, MemoryRecipe, resume_from_checkpoint="last", dataloader_num_workers=1, **settings)
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


def test_the_samplers_items_name_the_samples_of_a_bad_batch(train, tmp_path):
    with pytest.raises(ValueError, match="sample 3"):
        train(tmp_path, MemoryRecipe, num_train_epochs=1, gradient_accumulation_steps=1, bad_sample=3)
