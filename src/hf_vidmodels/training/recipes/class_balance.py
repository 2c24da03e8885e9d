"""An order of training examples in which every class comes equally often, however many examples it has."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..seeding import EpochSampler, epoch_order


class BalancedSampler(EpochSampler):
    """Yield as many `(epoch, index)` pairs as there are examples, those of all classes in turn.

    A class with fewer examples than its share shows them again, one with more shows some of them; which follows from
    seed and epoch.

    Args:
        labels: class id of every example.
        seed: the run's seed.
    """

    def __init__(self, labels: Sequence[int], seed: int) -> None:
        super().__init__(len(labels), seed)
        self.labels = np.asarray(labels)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Go once through an epoch."""
        for index in self.order().tolist():
            yield self.epoch, index

    def order(self) -> np.ndarray:
        """Give the examples of the epoch in their order, int64 `(examples,)`."""
        order = epoch_order(self.seed, self.epoch, self.num_samples)
        by_class = [order[self.labels[order] == label] for label in np.unique(self.labels)]
        # Round r shows the example number r of every class; those with fewer begin again.
        rounds = -(-self.num_samples // len(by_class))
        table = np.stack([np.resize(examples, rounds) for examples in by_class], axis=1)
        places = np.random.default_rng([self.seed, self.epoch]).permuted(
            np.tile(np.arange(len(by_class)), (rounds, 1)), axis=1
        )
        return np.take_along_axis(table, places, axis=1).ravel()[: self.num_samples]
