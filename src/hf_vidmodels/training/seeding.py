"""Randomness without history: every draw follows from the seed and from where in the run it is made.

Augmentation of a sample is drawn from (seed, epoch, sample), dropout and the like from (seed, epoch, batch, process).
Nothing depends on what was drawn before, so a run that was killed and resumed repeats exactly, whatever the number of
data-loading workers, and one sample can be looked at alone by its index.
"""

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

# Keys that keep the streams apart: without them (seed, epoch) and (seed, epoch, 0) would be the same stream.
_SAMPLE_STREAM, _ORDER_STREAM, _STEP_STREAM, _STAGE_STREAM = range(4)


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of all random choices about one sample in one epoch.

    Args:
        seed: the run's seed, not negative.
        epoch: the epoch counted over the whole run, as `EpochSampler` hands it to the data set.
        index: the sample's position in the data set.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, index], spawn_key=(_SAMPLE_STREAM,)))


def epoch_order(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    """Return a permutation of `range(num_samples)`, int64 `(num_samples,)`, that depends on nothing else."""
    sequence = np.random.SeedSequence([seed, epoch], spawn_key=(_ORDER_STREAM,))
    return np.random.default_rng(sequence).permutation(num_samples)


def seed_step(seed: int, epoch: int, step: int, rank: int = 0) -> None:
    """Seed torch (all devices), NumPy and Python for one batch on one process; waits for no device.

    Args:
        seed: the run's seed.
        epoch: the epoch counted over the whole run.
        step: the batch's position in the epoch.
        rank: the process index, so that processes drop different units.
    """
    _seed_all_libraries(np.random.SeedSequence([seed, epoch, step, rank], spawn_key=(_STEP_STREAM,)))


def seed_stage(seed: int, stage_index: int) -> None:
    """Seed the libraries, equally on all processes, before a model is built (-1) or a stage starts (0, 1, ...)."""
    _seed_all_libraries(np.random.SeedSequence([seed, stage_index + 1], spawn_key=(_STAGE_STREAM,)))


def _seed_all_libraries(sequence: np.random.SeedSequence) -> None:
    torch_word, numpy_word, python_word = (int(word) for word in sequence.generate_state(3))
    torch.manual_seed(torch_word)
    np.random.seed(numpy_word)
    random.seed(python_word)


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield `(epoch, index)` pairs, so that workers which outlive an epoch still learn which one a sample is for.

    The data set's `__getitem__` takes such a pair and draws from `sample_generator(seed, epoch, index)`.

    Args:
        num_samples: size of the data set.
        seed: the run's seed.
        shuffle: visit the samples in the order of `epoch_order` instead of 0, 1, ...
    """

    def __init__(self, num_samples: int, seed: int, shuffle: bool = True) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (counted over the whole run) of the following pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of samples in a pass."""
        return self.num_samples

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Go once through the data set."""
        if self.shuffle:
            order = epoch_order(self.seed, self.epoch, self.num_samples).tolist()
        else:
            order = range(self.num_samples)
        for index in order:
            yield self.epoch, index
