import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asm_loc_cases import NAMES, as_proposals, load_case
from hf_vidmodels.modeling.ops.proposal_guidance import sampling_labels, sampling_weights
from hf_vidmodels.modeling.ops.segment_proposals import candidate_segments, chosen_classes, localize_segments
from hf_vidmodels.modeling.ops.snippet_sampling import TimeWarp

CASES_AND_CURVES = [(name, f"curve_{index}") for name in NAMES for index in range(5)]
PIPELINE_LISTS = [
    ("pre_nms_step0", "test", "test0"),
    ("pre_nms_step1", "test", "test1"),
    ("pre_nms_pseudo", "pseudo", "pseudo0"),
]


@pytest.fixture(params=NAMES)
def case(request):
    return load_case(request.param)


def warp_of(case, video):
    proposals = case.proposals(video)
    labels = sampling_labels(proposals, case.guiding_labels(video), case.config)
    num_features = len(case.tensors[f"feature.{video}"])
    return TimeWarp.from_weights(sampling_weights(proposals, labels, num_features, case.config))


def assert_lists_equal(found, official, class_names, field):
    """Compare with the official [score, start, end] rows, class by class in the order of appearance."""
    order = list(dict.fromkeys(found["labels"].tolist()))
    assert [class_names[label] for label in order] == [entry["label"] for entry in official]
    for label, entry in zip(order, official, strict=True):
        rows = np.column_stack([found["scores"], found["segments"]])[found["labels"] == label]
        np.testing.assert_allclose(rows, np.array(entry[field]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("stages", ["test", "pseudo"])
@pytest.mark.parametrize(("name", "curve"), CASES_AND_CURVES)
def test_given_curves_yield_the_official_candidates_and_survivors(name, curve, stages):
    case = load_case(name)
    entry, outputs = case.postprocess["videos"][curve], case.outputs(f"curve.{curve}")
    warp = TimeWarp(case.tensors[f"curve.{curve}.weights_cumsum"]) if entry["dynamic"] else None
    settings = case.stage_settings(stages) | {"warp": warp}
    candidates = candidate_segments(*outputs, entry["vid_len"], **settings)
    kept = localize_segments(*outputs, entry["vid_len"], nms_threshold=case.config.nms_threshold, **settings)
    assert_lists_equal(candidates, entry[stages], case.postprocess["class_names"], "pre_nms")
    assert_lists_equal(kept, entry[stages], case.postprocess["class_names"], "kept")


@pytest.mark.parametrize(("name", "stages", "prefix"), PIPELINE_LISTS)
def test_network_outputs_yield_the_official_candidates(case, name, stages, prefix):
    for video, official in case.pipeline[name].items():
        warp = warp_of(case, video) if prefix == "test1" else None
        candidates = candidate_segments(
            *case.outputs(f"{prefix}.{video}"),
            len(case.tensors[f"feature.{video}"]),
            warp=warp,
            **case.stage_settings(stages),
        )
        assert_lists_equal(candidates, official, case.class_names, "pre_nms")


@pytest.mark.parametrize(
    ("results", "stages", "prefix"),
    [
        ("test_result_step0", "test", "test0"),
        ("test_result_step1", "test", "test1"),
        ("pseudo_proposals_step1", "pseudo", "pseudo0"),
    ],
)
def test_network_outputs_yield_the_official_results_of_all_videos(case, results, stages, prefix):
    for video, rows in case.pipeline[results].items():
        found = localize_segments(
            *case.outputs(f"{prefix}.{video}"),
            len(case.tensors[f"feature.{video}"]),
            nms_threshold=case.config.nms_threshold,
            warp=warp_of(case, video) if prefix == "test1" else None,
            **case.stage_settings(stages),
        )
        official = as_proposals(rows, case.class_names)
        np.testing.assert_array_equal(found["labels"], official["labels"])
        np.testing.assert_allclose(found["segments"], official["segments"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(found["scores"], official["scores"], rtol=0, atol=1e-6)


def test_classes_pass_only_above_the_threshold_in_float32_and_the_best_one_always():
    just_below = np.nextafter(np.float32(0.1), np.float32(0))
    assert chosen_classes(np.array([0.1, just_below, 0.2, 0.9], dtype=np.float32), 0.1).tolist() == [2]
    assert chosen_classes(np.array([0.1, just_below, 0.05, 0.9], dtype=np.float32), 0.1).tolist() == [0]


def plain_candidates(cas, attention, stage, class_score):
    """Follow the definition for one class on curves that are already up-sampled: (begin, stop, score)."""
    length = len(cas)
    for threshold in stage["thresholds"]:
        curves = {"cas": np.array(cas), "attention": np.array(attention)}
        source = curves[stage["source"]]
        source[source < threshold] = 0
        inside = [value >= threshold for value in {"cas": cas, "attention": attention}[stage["source"]]]
        score_curve = stage["cas_weight"] * curves["cas"] + stage["attention_weight"] * curves["attention"]
        begin = 0
        while begin < length:
            end = begin
            while end < length and inside[end]:
                end += 1
            if end - begin >= 2:
                reach = stage["outer_ratio"] * (end - begin)
                before = range(max(0, int(begin - reach)), begin)
                after = range(end, min(length - 1, int(end - 1 + reach)) + 1)
                outer = [score_curve[place] for place in (*before, *after)]
                contrast = np.mean(score_curve[begin:end]) - (np.mean(outer) if outer else 0)
                yield begin, end, contrast + stage["class_score_weight"] * class_score
            begin = end + 1


# Sums and differences of these are exact, so that values on a threshold stay on it.
levels = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@settings(deadline=None, max_examples=60)
@given(
    curves=st.lists(st.tuples(levels, levels, levels), min_size=2, max_size=30),
    source=st.sampled_from(["cas", "attention"]),
    thresholds=st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.8, 1.1]), min_size=1, max_size=4, unique=True),
    attention_weight=st.sampled_from([0.0, 0.3]),
    outer_ratio=st.sampled_from([0.0, 0.2, 0.7]),
)
def test_any_curves_give_what_the_definition_says(curves, source, thresholds, attention_weight, outer_ratio):
    cas, attention = np.array(curves)[:, :2], np.array(curves)[:, 2]
    stage = {
        "source": source,
        "thresholds": thresholds,
        "cas_weight": 1 - attention_weight,
        "attention_weight": attention_weight,
        "outer_ratio": outer_ratio,
        "class_score_weight": 0.25,
    }
    found = candidate_segments(
        np.array([0.5, 0.75, 0.0]),
        np.column_stack([cas, np.zeros(len(cas))]),
        attention,
        len(cas),
        stages=[stage],
        class_threshold=0.1,
        upsample_scale=1,
        frames_per_second=1,
        frames_per_snippet=1,
    )
    for label, class_score in enumerate((0.5, 0.75)):
        expected = np.array(list(plain_candidates(cas[:, label], attention, stage, class_score))).reshape(-1, 3)
        mine = found["labels"] == label
        np.testing.assert_allclose(found["segments"][mine], expected[:, :2], rtol=0, atol=1e-9)
        np.testing.assert_allclose(found["scores"][mine], expected[:, 2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_features", [10, 20, 40])
@pytest.mark.parametrize("anchor", [0.0, 0.5, 1.0])
def test_a_rows_value_stands_where_its_anchor_is(num_features, anchor):
    snippets_per_row = 10 / num_features
    attention = np.zeros(10)
    attention[3:6] = 1
    stage = {"source": "attention", "thresholds": [0.5], "cas_weight": 0, "attention_weight": 1, "outer_ratio": 0.2}
    found = candidate_segments(
        np.array([1.0, 0.0]),
        np.zeros((10, 2)),
        attention,
        num_features,
        stages=[stage | {"class_score_weight": 0}],
        class_threshold=0.1,
        upsample_scale=40,
        feature_anchor=anchor,
        frames_per_second=1,
        frames_per_snippet=1,
    )
    # The middle snippet of the three is row 4 / snippets_per_row; a row lasts a second.
    assert found["segments"].mean() == pytest.approx(4 / snippets_per_row + anchor, abs=0.1)


def test_curves_under_all_thresholds_give_an_empty_answer():
    found = localize_segments(
        np.array([0.9, 0.1]),
        np.zeros((5, 2)),
        np.zeros(5),
        5,
        nms_threshold=0.5,
        **load_case("thumos_tiny").stage_settings("test"),
    )
    assert found["segments"].shape == (0, 2)
    assert found["scores"].shape == found["labels"].shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": np.zeros(4)}, r"shapes \(K \+ 1,\), \(T, K \+ 1\) and \(T,\) with T >= 2"),
        ({"cas": np.zeros((1, 3)), "attention": np.zeros(1)}, "with T >= 2"),
        ({"class_scores": np.zeros(4)}, r"got \(4,\), \(5, 3\) and \(5,\)"),
        ({"cas": np.full((5, 3), np.nan)}, "must be finite"),
        ({"num_features": 0}, "num_features must be 1 or more, got 0"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"class_scores": np.zeros(3), "cas": np.zeros((5, 3)), "attention": np.zeros(5), "num_features": 5}
    with pytest.raises(ValueError, match=message):
        candidate_segments(**(arguments | change), **load_case("thumos_tiny").stage_settings("test"))
