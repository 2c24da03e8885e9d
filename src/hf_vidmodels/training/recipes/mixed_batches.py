"""Which pictures meet in a batch: labelled ones alone, or with pictures without labels, in the official order or in
one of our own.

Facts of the official code (commit 0e3b5be); the chain is the idea of USB's sampler (Wang et al., NeurIPS 2022), which
draws a new permutation when one is used up, so that every picture comes before any comes again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ...data.two_stream_pictures import LABELLED, UNLABELLED
from ..seeding import epoch_order

OFFICIAL, OFFICIAL_REPEATED, CHAINED = "official", "official_repeated", "chained"
Item = tuple[int, int, int]
# Of repeated augmentation: how often a picture comes in a row, and the number that an epoch's length is cut to.
REPEATS, LENGTH_UNIT = 3, 256


@dataclass
class MixedBatches:
    """Yields the batches of all processes in turn, as lists of `(epoch, stream, place)`; see `TwoStreamPictures`.

    Args:
        num_labelled: labelled pictures that there are.
        num_unlabelled: pictures without labels that there are.
        labelled_per_batch: of one process.
        unlabelled_per_batch: of one process; 0 while only labelled pictures are learned from.
        num_processes: that share the batches.
        order: `"official"`, `"official_repeated"` (labelled pictures three times in a row) or `"chained"`.
        seed: of the chained order; the official one follows from the epoch alone.
        first_epoch: epoch of the run with which the stage begins.
        steps: batches of one process in an epoch; None for one pass through the labelled pictures.

    Raises:
        ValueError: when there are too few pictures for one batch of every process.
    """

    num_labelled: int
    num_unlabelled: int
    labelled_per_batch: int
    unlabelled_per_batch: int
    num_processes: int = 1
    order: str = CHAINED
    seed: int = 0
    first_epoch: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        self.epoch = 0
        self.batch_size = self.labelled_per_batch + self.unlabelled_per_batch
        for count, per_batch, kind in (
            (self.num_labelled, self.labelled_per_batch, "labelled pictures"),
            (self.num_unlabelled, self.unlabelled_per_batch, "pictures without labels"),
        ):
            if self._length(count) < per_batch:
                raise ValueError(
                    f"there are {count} {kind}, but a step takes {per_batch} on each of {self.num_processes} "
                    "processes: lower per_device_train_batch_size, change labelled_fraction, or give more pictures"
                )
        if self.steps is None:
            self.steps = self._length(self.num_labelled) // self.labelled_per_batch
        if self.order == OFFICIAL_REPEATED:
            # What is cut to a multiple of 256 pictures is shared by the processes.
            self.steps = (
                self.num_labelled // LENGTH_UNIT * LENGTH_UNIT // self.num_processes // self.labelled_per_batch
            )
            if not self.steps:
                raise ValueError(
                    f"sampler official_repeated needs at least {LENGTH_UNIT} labelled pictures and a batch of each of "
                    f"{self.num_processes} processes, but there are {self.num_labelled}; choose another sampler"
                )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted over the whole run, of the following pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches of all processes in an epoch."""
        return self.steps * self.num_processes

    def __iter__(self) -> Iterator[list[Item]]:
        """Go through an epoch: step by step, in each the batch of every process."""
        parts = [self._places(LABELLED), self._places(UNLABELLED)]
        for step in range(self.steps):
            for process in range(self.num_processes):
                yield [
                    (self.epoch, stream, int(place))
                    for stream, places in enumerate(parts)
                    for place in places[step, process]
                ]

    def _places(self, stream: int) -> np.ndarray:
        """Give the places of an epoch as int64 (steps, processes, pictures in a batch)."""
        count = (self.num_labelled, self.num_unlabelled)[stream]
        size = (self.labelled_per_batch, self.unlabelled_per_batch)[stream]
        if size == 0:
            return np.empty((self.steps, self.num_processes, 0), np.int64)
        if self.order == CHAINED:
            taken = self.steps * self.num_processes * size
            start = (self.epoch - self.first_epoch) * taken
            # Both streams may have the same number of pictures and must not come in the same order.
            chain = chained_order(self.seed + stream, count, start, taken)
            return chain.reshape(self.steps, self.num_processes, size)
        if self.order == OFFICIAL_REPEATED and stream == LABELLED:
            shares = repeated_shares(self.epoch, count, self.num_processes)[:, : self.steps * size]
            return shares.reshape(self.num_processes, self.steps, size).swapaxes(0, 1)
        return self._official_places(count, size)

    def _official_places(self, count: int, size: int) -> np.ndarray:
        """Let every process go through its share again and again, in whole batches."""
        shares = epoch_shares(self.epoch, count, self.num_processes)
        batches = shares[:, : shares.shape[1] // size * size].reshape(self.num_processes, -1, size)
        rounds, numbers = np.divmod(np.arange(self.steps), batches.shape[1])
        return (batches[:, numbers] + (rounds * count)[None, :, None]).swapaxes(0, 1)

    def _length(self, count: int) -> int:
        """Give how many pictures the share of a process has."""
        return count // self.num_processes if self.order == CHAINED else -(-count // self.num_processes)


def epoch_shares(epoch: int, count: int, num_processes: int) -> np.ndarray:
    """Share a permutation that the epoch seeds among processes, as PyTorch's distributed sampler does.

    Returns:
        int64 (processes, pictures); shares that would be shorter are filled from the beginning.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch)).numpy()
    return np.resize(order, (-(-count // num_processes), num_processes)).T


def repeated_shares(epoch: int, count: int, num_processes: int) -> np.ndarray:
    """Share a permutation in which every picture comes three times in a row, and cut it (repeated augmentation).

    Returns:
        int64 (processes, places); a picture's second and third time are places beyond the first `count`.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch)).numpy()
    places = (order[:, None] + np.arange(REPEATS) * count).ravel()
    shares = np.resize(places, (-(-len(places) // num_processes), num_processes)).T
    return shares[:, : count // LENGTH_UNIT * LENGTH_UNIT // num_processes]


def chained_order(seed: int, count: int, start: int, length: int) -> np.ndarray:
    """Give a piece of an endless chain of permutations.

    Args:
        seed: of the chain.
        count: pictures in a permutation.
        start: places of the chain before the piece.
        length: of the piece.

    Returns:
        int64 (length,): numbers of pictures, plus `count` for each permutation since the piece began, so that no place
        comes twice.
    """
    first, last = start // count, (start + length - 1) // count
    chain = np.concatenate(
        [epoch_order(seed, number, count) + (number - first) * count for number in range(first, last + 1)]
    )
    return chain[start - first * count :][:length]
