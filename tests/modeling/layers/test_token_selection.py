import pytest
import torch

from hf_vidmodels.configuration.configuration_stts import SttsConfig
from hf_vidmodels.modeling.layers.token_selection import (
    SelectionPass,
    SpatialSelector,
    TemporalSelector,
    TokenScorer,
    min_max,
    mix_windows,
    spread_evenly,
    take_rows,
    window_cells,
)
from stts_cases import load_operators


def selector_of(kind, ratio, side=8, frames=4, width=8, **settings):
    """A selector on tokens of width `width`, on a grid of `frames` x `side` x `side`."""
    none = {"temporal_select_layers": [], "temporal_keep_ratios": []}
    none |= {"spatial_select_layers": [], "spatial_keep_ratios": []}
    chosen = none | {f"{kind}_select_layers": [0], f"{kind}_keep_ratios": [ratio]}
    size = {"num_frames": 2 * frames, "image_size": 4 * side, "hidden_size": width, "num_noise_samples": 50}
    config = SttsConfig.from_preset("tiny-mvit", **(chosen | size | settings))
    torch.manual_seed(0)
    selector = (TemporalSelector if kind == "temporal" else SpatialSelector)(config, config.selector_plans()[0])
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return selector


def tokens_of(frames=4, side=8, width=8, clips=3):
    return torch.randn(clips, frames * side * side, width, generator=torch.Generator().manual_seed(1))


def hard():
    return SelectionPass(is_soft=False, sigma=0.1)


def test_the_scorer_is_the_official_one():
    _, io = load_operators()
    weights = {key.removeprefix("scorer.weight."): value for key, value in io.items() if "scorer.weight" in key}
    names = {"in_conv.0": "norm", "in_conv.1": "embedding", "out_conv.0": "hidden.0", "out_conv.2": "hidden.1"}
    names["out_conv.4"] = "output"
    scorer = TokenScorer(io["scorer.input"].shape[-1], 1e-5)
    scorer.load_state_dict(
        {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": weights[key] for key in weights}
    )
    torch.testing.assert_close(scorer(io["scorer.input"])[..., None], io["scorer.output"], atol=1e-6, rtol=1e-6)


def test_scores_stretch_to_one_and_constant_rows_vanish():
    _, io = load_operators()
    assert torch.equal(min_max(io["minmax.constant_in"]), io["minmax.constant_out"])
    torch.testing.assert_close(min_max(io["topk.raw_scores"]), io["topk.scores"])


def test_windows_are_scored_by_the_official_means():
    operators, io = load_operators()
    anchor = operators["anchor"]
    means = torch.nn.functional.avg_pool2d(io["anchor.score_map"][:, None], anchor["anchor_size"], anchor["stride"])
    torch.testing.assert_close(means.flatten(1), io["anchor.means"])


def test_frames_go_on_in_order_of_time_as_they_are():
    selector, tokens, selection = selector_of("temporal", 0.5), tokens_of(), hard()
    kept, grid = selector(tokens, (4, 8, 8), selection)
    assert grid == (2, 8, 8)
    (indices,), (scores,) = selection.temporal_indices, selection.temporal_scores
    assert (indices.diff(dim=-1) > 0).all()
    for clip in range(3):
        assert set(indices[clip].tolist()) == set(scores[clip].topk(2).indices.tolist())
        expected = tokens[clip].view(4, 64, 8)[indices[clip]]
        assert torch.equal(kept[clip], expected.flatten(0, 1))


def test_frames_are_scored_by_the_mean_and_the_largest_of_their_tokens():
    selector, tokens, selection = selector_of("temporal", 0.5), tokens_of(), hard()
    selector(tokens, (4, 8, 8), selection)
    maps = tokens.view(3, 4, 64, 8)
    expected = min_max(selector.scorer(torch.cat((maps.mean(2), maps.max(2).values), -1)))
    torch.testing.assert_close(selection.temporal_scores[0], expected)


@pytest.mark.parametrize(
    ("side", "ratio", "stride"), [(8, 0.4, None), (7, 0.35, None), (9, 0.2, 2), (9, 0.3, 3), (5, 1.0, None)]
)
def test_the_chosen_window_is_the_best_of_all_that_could_be_cut(side, ratio, stride):
    selector = selector_of("spatial", ratio, side=side, spatial_anchor_stride=stride)
    tokens, selection = tokens_of(side=side), hard()
    kept, grid = selector(tokens, (4, side, side), selection)
    window, step = selector.plan.kept, selector.plan.anchor_stride
    maps = tokens.view(12, side, side, 8)
    scores = selector.scorer(maps.flatten(1, 2)).view(12, side, side)
    starts = range(0, side - window + 1, step)
    anchors = [(row, column) for row in starts for column in starts]
    means = torch.stack(
        [scores[:, row : row + window, column : column + window].mean((1, 2)) for row, column in anchors], 1
    )
    assert grid == (4, window, window)
    assert torch.equal(selection.spatial_indices[0].flatten(), means.argmax(1))
    torch.testing.assert_close(selection.spatial_scores[0].flatten(0, 1), min_max(means), atol=1e-4, rtol=1e-4)
    for frame, best in enumerate(means.argmax(1).tolist()):
        row, column = anchors[best]
        expected = maps[frame, row : row + window, column : column + window].flatten(0, 1)
        assert torch.equal(kept.view(12, -1, 8)[frame], expected)


def test_a_soft_choice_without_noise_is_the_hard_one():
    for kind, ratio in (("temporal", 0.5), ("spatial", 0.4)):
        selector, tokens = selector_of(kind, ratio), tokens_of()
        choice, _ = selector(tokens, (4, 8, 8), hard())
        mixture, _ = selector(tokens, (4, 8, 8), SelectionPass(is_soft=True, sigma=0.0))
        torch.testing.assert_close(choice, mixture)


@pytest.mark.parametrize(("side", "stride"), [(5, 1), (4, 2), (3, 3)])
def test_mixed_windows_are_the_weighted_sum_of_all(side, stride):
    maps = torch.randn(2, 8, 8, 5)
    starts = range(0, 8 - side + 1, stride)
    weights = torch.rand(2, 1, len(starts) ** 2)
    crops = [maps[:, row : row + side, column : column + side] for row in starts for column in starts]
    expected = sum(weights[:, 0, index, None, None, None] * crop for index, crop in enumerate(crops))
    torch.testing.assert_close(mix_windows(maps, weights, side, stride), expected.flatten(1, 2))


def test_cells_of_windows_and_rows_are_taken_in_order():
    assert window_cells(torch.tensor([3]), 4, 2, 2).tolist() == [[10, 11, 14, 15]]
    values = torch.arange(12).view(2, 6)
    assert take_rows(values, torch.tensor([[0, 5], [2, 2]])).tolist() == [[0, 5], [8, 8]]
    assert spread_evenly(8, 4, "cpu").tolist() == [0, 2, 4, 7]
    assert spread_evenly(16, 1, "cpu").tolist() == [0]


def test_even_choices_are_spread_over_time_and_centred_in_space():
    tokens, selection = tokens_of(), hard()
    selector_of("temporal", 0.75, selection_mode="uniform")(tokens, (4, 8, 8), selection)
    assert selection.temporal_indices[0].tolist() == [[0, 1, 3]] * 3
    selector = selector_of("spatial", 0.3, selection_mode="uniform")
    selector(tokens, (4, 8, 8), selection)
    assert selector.plan.anchors_per_side == 3
    assert selection.spatial_indices[0].unique().tolist() == [4]
    assert not list(selector.parameters())


def test_random_choices_follow_the_generator_and_in_evaluation_are_fixed():
    selector, tokens = selector_of("temporal", 0.5, selection_mode="random", frames=16), tokens_of(frames=16, clips=8)

    def choose(**settings):
        selection = SelectionPass(is_soft=False, sigma=0.1, **settings)
        selector(tokens, (16, 8, 8), selection)
        return selection.temporal_indices[0]

    torch.manual_seed(3)
    first, second = choose(is_training=True), choose(is_training=True)
    torch.manual_seed(3)
    assert torch.equal(first, choose(is_training=True)) and not torch.equal(first, second)
    assert len({tuple(row) for row in first.tolist()}) > 1
    assert (first.diff(dim=-1) > 0).all()
    fixed = choose()
    torch.manual_seed(4)
    assert torch.equal(fixed, choose())
    assert len({tuple(row) for row in fixed.tolist()}) == 1
    drawn = [choose(generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*drawn) and len({tuple(row) for row in drawn[0].tolist()}) > 1


def test_random_windows_differ_from_frame_to_frame():
    selector, selection = selector_of("spatial", 0.2, selection_mode="random"), hard()
    selector(tokens_of(), (4, 8, 8), selection)
    anchors = selection.spatial_indices[0]
    assert torch.equal(anchors[0], anchors[2]) and len(set(anchors[0].tolist())) > 1


def test_scores_stay_float32_under_autocast():
    selector, tokens = selector_of("spatial", 0.4), tokens_of()
    plain, cast = hard(), hard()
    selector(tokens, (4, 8, 8), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        selector(tokens, (4, 8, 8), cast)
    assert torch.equal(plain.spatial_scores[0], cast.spatial_scores[0])


def test_what_comes_in_another_size_is_refused():
    tokens = tokens_of(frames=1, side=8)
    with pytest.raises(ValueError, match="temporal selector before block 0 keeps 2 frames, but only 1 come to it"):
        selector_of("temporal", 0.5)(tokens, (1, 8, 8), hard())
    with pytest.raises(ValueError, match="keeps windows of 5 x 5 tokens of a square grid, but a grid of 4 x 16 comes"):
        selector_of("spatial", 0.4)(tokens, (1, 4, 16), hard())
    with pytest.raises(ValueError, match="but a grid of 4 x 4 comes to it"):
        selector_of("spatial", 0.4)(tokens, (4, 4, 4), hard())


def test_scores_that_are_no_numbers_choose_nothing():
    tokens = tokens_of()
    tokens[1, 3, 2] = float("nan")
    with pytest.raises(
        ValueError, match="temporal selector before block 0 got scores that are NaN or infinite; check"
    ):
        selector_of("temporal", 0.5)(tokens, (4, 8, 8), hard())


def test_too_little_noise_is_named():
    selector = selector_of("temporal", 0.5)
    with pytest.raises(ValueError, match="noise must hold one tensor for each selector"):
        selector(tokens_of(), (4, 8, 8), SelectionPass(is_soft=True, sigma=0.1, noise=iter(())))
