import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_vidmodels.training.seeding import EpochSampler, epoch_order, sample_generator, seed_stage, seed_step

counts = st.integers(0, 2**31)


def draws_after(seed_function, *key):
    seed_function(*key)
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()


@given(counts, counts, counts)
def test_a_samples_draws_depend_on_seed_epoch_and_index_alone(seed, epoch, index):
    first = sample_generator(seed, epoch, index).random(4)
    torch.manual_seed(1)
    np.random.seed(1)
    assert np.array_equal(first, sample_generator(seed, epoch, index).random(4))


@given(st.lists(st.tuples(counts, counts, counts), min_size=2, max_size=2, unique=True))
def test_other_samples_draw_otherwise(keys):
    first, second = (sample_generator(*key).integers(0, 2**63, size=2).tolist() for key in keys)
    assert first != second


def test_streams_of_different_purpose_differ_although_their_keys_end_in_zeros():
    sample = sample_generator(3, 1, 0).permutation(50)
    assert not np.array_equal(sample, epoch_order(3, 1, 50))
    assert draws_after(seed_step, 3, 0, 0, 0) != draws_after(seed_stage, 3, -1)


@given(st.integers(0, 2**31), st.integers(0, 1000), st.integers(0, 200))
def test_an_epochs_order_visits_every_sample_once(seed, epoch, num_samples):
    assert sorted(epoch_order(seed, epoch, num_samples).tolist()) == list(range(num_samples))


@pytest.mark.parametrize("place", range(4))
def test_a_step_is_seeded_by_seed_epoch_batch_and_process(place):
    key = [5, 6, 7, 8]
    other = key.copy()
    other[place] += 1
    first = draws_after(seed_step, *key)
    assert first == draws_after(seed_step, *key)
    assert all(a != b for a, b in zip(first, draws_after(seed_step, *other), strict=True))


def test_the_sampler_tells_the_epoch_with_every_index():
    sampler = EpochSampler(5, seed=1)
    sampler.set_epoch(4)
    assert len(sampler) == 5
    assert list(sampler) == [(4, index) for index in epoch_order(1, 4, 5)]
    sampler.set_epoch(5)
    assert [epoch for epoch, _ in sampler] == [5] * 5


def test_the_sampler_keeps_the_order_when_it_does_not_shuffle():
    assert list(EpochSampler(3, seed=1, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]
