"""Which pictures meet in Semiformer's batches, against the official order and by what the chain promises."""

import numpy as np
import pytest

from hf_vidmodels.data.two_stream_pictures import LABELLED, UNLABELLED
from hf_vidmodels.training.recipes.mixed_batches import MixedBatches, chained_order, repeated_shares
from hf_vidmodels.training.recipes.semiformer_schedule import official_epoch, warmup_cosine_rate
from semiformer_cases import load_case

COUNTS = {LABELLED: 23, UNLABELLED: 61}


def of_stream(batch, stream):
    return [place % COUNTS[stream] for _, kind, place in batch if kind == stream]


def official_epochs(batches, epoch, processes):
    """Every process's batches of an epoch."""
    batches.set_epoch(epoch)
    return [list(batches)[process::processes] for process in range(processes)]


def test_the_official_order_is_that_of_every_process_step_and_epoch():
    (expected,) = load_case("base_tiny").expected["samplers"]
    sizes = {0: (8, 0), 1: (2, 6), 2: (2, 6)}
    for epoch, (labelled, unlabelled) in sizes.items():
        batches = MixedBatches(23, 61, labelled, unlabelled, num_processes=2, order="official")
        found = official_epochs(batches, epoch, 2)
        for process, rank in enumerate(expected["ranks"]):
            steps = rank["epochs"][epoch]
            assert [of_stream(batch, LABELLED) for batch in found[process]] == [step["labelled"] for step in steps]
            assert [of_stream(batch, UNLABELLED) for batch in found[process]] == [step["unlabelled"] for step in steps]
            assert len(batches) == 2 * len(steps)


def test_repeated_pictures_come_in_the_official_order():
    (expected,) = load_case("base_tiny").expected["samplers"]
    for row in expected["repeated_aug_sampler"]:
        share = repeated_shares(row["epoch"], row["dataset_len"], 2)[row["rank"]] % row["dataset_len"]
        assert len(share) == row["length"]
        assert share[:30].tolist() == row["first_30"]
        assert share.sum() == row["sum_of_indices"]


@pytest.mark.parametrize("order", ["official", "official_repeated", "chained"])
def test_no_view_comes_twice_in_an_epoch(order):
    batches = MixedBatches(300, 310, 50, 100, num_processes=2, order=order, seed=3)
    batches.set_epoch(4)
    items = [item for batch in batches for item in batch]
    assert len(items) == len(set(items)) == len(batches) * 150
    assert {epoch for epoch, _, _ in items} == {4}


def test_in_the_chain_every_picture_comes_before_any_comes_again():
    batches = MixedBatches(40, 61, 4, 12, order="chained", seed=1, first_epoch=5)
    seen = []
    for epoch in range(5, 9):
        batches.set_epoch(epoch)
        seen += [place % 61 for batch in batches for _, stream, place in batch if stream == UNLABELLED]
    for start in range(0, len(seen) - 61, 61):
        assert sorted(seen[start : start + 61]) == list(range(61))
    assert seen[:61] != seen[61:122]


def test_the_pieces_of_a_chain_fit_each_other():
    whole = chained_order(0, 7, 0, 40) % 7
    pieces = [chained_order(0, 7, start, 8) % 7 for start in range(0, 40, 8)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_processes_share_what_one_process_would_learn_from_in_the_same_steps():
    one = MixedBatches(40, 61, 8, 24, num_processes=1, seed=1)
    two = MixedBatches(40, 61, 4, 12, num_processes=2, seed=1)
    assert one.steps == two.steps
    whole, halves = list(one), list(two)
    for step, batch in enumerate(whole):
        assert set(batch) == set(halves[2 * step]) | set(halves[2 * step + 1])


def test_an_epoch_is_a_pass_through_the_labelled_pictures_unless_steps_are_given():
    assert MixedBatches(23, 61, 4, 12).steps == 5
    assert MixedBatches(23, 61, 4, 12, steps=100).steps == 100


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((7, 61), "there are 7 labelled pictures, but a step takes 4 on each of 2 processes"),
        ((23, 23), "there are 23 pictures without labels, but a step takes 12 on each of 2 processes"),
    ],
)
def test_too_few_pictures_for_a_step_are_refused(counts, sentence):
    with pytest.raises(ValueError, match=sentence):
        MixedBatches(*counts, 4, 12, num_processes=2)


def test_repeated_pictures_need_as_many_as_the_official_unit():
    with pytest.raises(ValueError, match="official_repeated needs at least 256 labelled pictures .* there are 200"):
        MixedBatches(200, 500, 4, 12, order="official_repeated")


@pytest.mark.parametrize("row", load_case("base_tiny").expected["lr_schedule"], ids=lambda row: str(row["config"]))
def test_the_rate_of_every_epoch_is_the_official_one(row):
    config = row["config"]
    found = [
        warmup_cosine_rate(
            official_epoch(epoch),
            config["epochs"],
            peak=config["lr"],
            warmup_epochs=config["warmup_epochs"],
            warmup_rate=config["warmup_lr"],
            final_rate=config["min_lr"],
        )
        for epoch in range(config["epochs"])
    ]
    np.testing.assert_allclose(found, row["lr_used_in_epoch"], rtol=1e-10)
