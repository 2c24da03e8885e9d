import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asm_loc_cases import NAMES, load_case
from hf_vidmodels.modeling.ops.snippet_sampling import (
    TimeWarp,
    interpolate_linear,
    sample_random,
    sample_uniform,
    upsample_curves,
    warp_features,
)


@pytest.fixture(params=NAMES)
def case(request):
    return load_case(request.param)


def features_of(length, width=3):
    return np.random.default_rng(length).normal(size=(length, width))


lengths = st.integers(1, 60)
weight_lists = st.lists(st.one_of(st.just(1.0), st.floats(1, 8)), min_size=2, max_size=40)


@pytest.mark.parametrize("name", ["long", "just_over", "equal", "short", "single"])
def test_uniform_samples_equal_the_official_ones(case, name):
    sample = sample_uniform(case.io[f"sampling.{name}.feature"], case.config.num_snippets)
    np.testing.assert_array_equal(sample, case.io[f"sampling.{name}.uniform"])


@pytest.mark.parametrize("name", ["long", "just_over", "equal", "short"])
def test_random_samples_equal_the_official_ones_given_their_draws(case, name):
    features, draws = case.io[f"sampling.{name}.feature"], case.io.get(f"sampling.{name}.u")
    sample = sample_random(features, case.config.num_snippets, draws=draws)
    np.testing.assert_allclose(sample, case.io[f"sampling.{name}.random"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_dynamic_sampling_equals_the_official_one(case, name):
    io, size = case.io, case.config.num_snippets
    weights = io[f"dynamic.{name}.weights"]
    warped = warp_features(io[f"dynamic.{name}.feature"], weights)
    sampled = sample_random(warped, size, draws=io.get(f"dynamic.{name}.u"))
    np.testing.assert_array_equal(TimeWarp.from_weights(weights).cumulated_weights, io[f"dynamic.{name}.cumsum"])
    np.testing.assert_allclose(warped, io[f"dynamic.{name}.warped"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(sample_uniform(warped, size), io[f"dynamic.{name}.warped_uniform"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(sampled, io[f"dynamic.{name}.warped_random"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["a", "b"])
def test_upsampled_curves_equal_the_official_ones(case, name):
    curves = upsample_curves(case.io[f"upsample.{name}.in"], case.config.upsample_scale)
    np.testing.assert_allclose(curves, case.io[f"upsample.{name}.out"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("anchor", [0.0, 0.5, 1.0])
def test_a_snippets_value_stands_where_its_anchor_is(anchor):
    curve = np.zeros((6, 1))
    curve[2:4] = 1
    upsampled = upsample_curves(curve, 20, anchor)[:, 0]
    middle = np.flatnonzero(upsampled > 0.5).mean() / 20
    # Snippets 2 and 3 last from 2 to 4.
    assert middle == pytest.approx(2.5 + anchor, abs=0.05)


@settings(deadline=None)
@given(length=lengths, size=st.integers(1, 40))
def test_a_uniform_sample_keeps_order_starts_at_the_first_row_and_never_repeats_a_row(length, size):
    rows = np.arange(length)[:, None]
    chosen = sample_uniform(rows, size)[:, 0]
    if length == 1:
        assert chosen.tolist() == [0, 0]
        return
    assert len(chosen) == min(length, size)
    assert chosen[0] == 0
    assert (np.diff(chosen) > 0).all()


@settings(deadline=None)
@given(length=lengths, size=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_random_sample_has_the_wanted_length_and_rows_in_order(length, size, seed):
    positions = np.arange(length, dtype=np.float64)[:, None]
    sample = sample_random(positions, size, np.random.default_rng(seed))[:, 0]
    assert len(sample) == size
    assert (np.diff(sample) >= -1e-9).all()
    assert sample.min() >= -1e-9
    assert sample.max() <= length - 1 + 1e-9
    if length > size:
        assert (np.diff(sample) > 0).all(), "bins do not overlap"
        assert sample.max() < length - 1, "the last row is never drawn"


def test_a_random_sample_depends_on_its_generator_alone():
    features = features_of(50)
    first, again, other = (sample_random(features, 10, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@settings(deadline=None)
@given(length=st.integers(2, 50))
def test_weights_of_one_give_the_features_back(length):
    features = features_of(length)
    np.testing.assert_allclose(warp_features(features, np.ones(length)), features, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(weights=weight_lists)
def test_each_row_takes_up_its_weight_on_the_stretched_axis(weights):
    numbers = np.arange(1.0, len(weights) + 1)
    warped = warp_features(numbers[:, None], weights)[:, 0]
    cumulated = np.concatenate([[0], np.cumsum(weights)])
    assert len(warped) == round(cumulated[-1])
    reached = interpolate_linear(warped, np.arange(len(weights) + 1), cumulated)
    np.testing.assert_allclose(reached, np.arange(1, len(warped) + 1), rtol=0, atol=1e-6)


@settings(deadline=None)
@given(weights=weight_lists, share=st.floats(-0.2, 1.2))
def test_mapping_time_to_the_stretched_axis_and_back_is_the_identity(weights, share):
    warp, rate = TimeWarp.from_weights(weights), 25 / 16
    duration = len(weights) / rate
    time = np.array([[share * duration]])
    stretched = warp.to_stretched_seconds(time, rate)
    # The two maps of the method differ by the position of a row: its end in one, its number in the other.
    stretched_duration = warp.cumulated_weights[-1] / rate
    back = warp.to_original_seconds((stretched + 1 / rate) * duration / stretched_duration, duration)
    np.testing.assert_allclose(back - 1 / rate, time, rtol=0, atol=1e-6)


@settings(deadline=None)
@given(weights=weight_lists)
def test_stretched_time_grows_and_keeps_the_ends_of_the_video(weights):
    warp = TimeWarp.from_weights(weights)
    times = warp.to_original_seconds(np.linspace(0, 9, 30), 9.0)
    assert (np.diff(times) > 0).all()
    np.testing.assert_allclose(times[[0, -1]], [0, 9], rtol=0, atol=1e-9)


def test_a_single_row_is_repeated_and_its_time_is_not_stretched():
    row = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(warp_features(row, np.ones(1)), [[1, 2], [1, 2]])
    np.testing.assert_array_equal(sample_random(row, 3), [[1, 2], [1, 2], [1, 2]])
    assert TimeWarp.from_weights(np.ones(1)) is None


@settings(deadline=None)
@given(x=st.lists(st.integers(0, 50), min_size=2, max_size=8, unique=True).map(sorted), shift=st.floats(-3, 3))
def test_interpolation_reproduces_straight_lines_beyond_their_ends(x, shift):
    positions = np.linspace(x[0] - 5, x[-1] + 5, 17)
    values = interpolate_linear(positions, x, 2.5 * np.array(x) + shift)
    np.testing.assert_allclose(values, 2.5 * positions + shift, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_uniform(np.zeros(4), 3), r"features must have shape \(L, C\)"),
        (lambda: sample_uniform(np.zeros((0, 4)), 3), "one row or more, got"),
        (lambda: sample_uniform(np.zeros((2, 4)), 0), "num_snippets must be 1 or more, got 0"),
        (lambda: sample_random(np.zeros((9, 4)), 3), "9 rows to 3 needs a generator"),
        (lambda: sample_random(np.zeros((9, 4)), 3, draws=np.zeros(2)), r"draws must have shape \(3,\), got \(2,\)"),
        (lambda: warp_features(np.zeros((4, 2)), np.ones(3)), r"sampling weights must have shape \(4,\)"),
        (lambda: warp_features(np.zeros((2, 2)), [1.0, 0.5]), "must be finite and 1 or more, got 0.5"),
        (lambda: warp_features(np.zeros((2, 2)), [1.0, np.nan]), "must be finite"),
        (lambda: upsample_curves(np.zeros((1, 2)), 20), "needs two or more knots"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
