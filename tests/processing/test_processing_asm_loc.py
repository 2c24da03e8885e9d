import json
import warnings

import h5py
import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

import hf_vidmodels  # noqa: F401  (registers the processor)
from asm_loc_cases import FOLDER, NAMES, load_case
from hf_vidmodels.configuration.configuration_asm_loc import AsmLocConfig
from hf_vidmodels.conversion.convert_checkpoint import convert_official_checkpoint
from hf_vidmodels.modeling.ops.proposal_guidance import sampling_labels, sampling_weights
from hf_vidmodels.modeling.ops.segment_proposals import localize_segments
from hf_vidmodels.modeling.ops.snippet_sampling import TimeWarp
from hf_vidmodels.processing.processing_asm_loc import AsmLocProcessor


@pytest.fixture
def processor():
    return AsmLocProcessor(feature_size=4, num_snippets=10)


@pytest.fixture(params=NAMES)
def case(request):
    return load_case(request.param)


def rows_of(length, width=4):
    return np.random.default_rng(length).normal(size=(length, width)).astype(np.float32)


def test_settings_come_from_the_configuration_and_survive_saving(tmp_path):
    config = AsmLocConfig.from_preset("asm-loc-activitynet")
    AsmLocProcessor.from_config(config).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved == {
        "feature_extractor_type": "AsmLocProcessor",
        "feature_size": 2048,
        "num_snippets": 150,
        "frames_per_second": 25,
        "frames_per_snippet": 16,
        "max_proposals": 100,
        "proposal_extension": 0.0,
    }
    config.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(loaded, AsmLocProcessor)
    assert loaded.to_dict() == saved
    assert AsmLocProcessor.from_pretrained(tmp_path, num_snippets=7).num_snippets == 7


def test_every_kind_of_source_gives_the_same_snippets(processor, tmp_path):
    rows = rows_of(7)
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "a.npz", rows)
    np.save(tmp_path / "rgb.npy", rows[:, :2])
    np.save(tmp_path / "flow.npy", rows[:, 2:])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = rows
    sources = [rows, torch.from_numpy(rows), (rows[:, :2], torch.from_numpy(rows[:, 2:]))]
    sources += [tmp_path / "a.npy", str(tmp_path / "a.npz"), tmp_path / "a.h5"]
    sources.append((tmp_path / "rgb.npy", tmp_path / "flow.npy"))
    for source in sources:
        np.testing.assert_array_equal(processor(source)["input_features"][0], rows)
    batch = processor(sources)["input_features"]
    assert batch.shape == (len(sources), 7, 4)
    assert batch.dtype == torch.float32


def test_shorter_videos_are_padded_with_zero_rows(processor):
    batch = processor([rows_of(3), rows_of(25), rows_of(1)])
    assert batch["input_features"].shape == (3, 10, 4)
    assert batch["attention_mask"].sum(1).tolist() == [3, 10, 2]
    assert batch["num_features"].tolist() == [3, 25, 1]
    assert (batch["input_features"][0, 3:] == 0).all()
    assert "proposal_boxes" not in batch


def test_sampling_is_uniform_random_or_none(processor):
    rows = rows_of(25)
    np.testing.assert_array_equal(processor(rows)["input_features"][0], rows[(np.arange(10) * 2.5).astype(int)])
    np.testing.assert_array_equal(processor(rows, sampling=None)["input_features"][0], rows)
    drawn, again, other = (
        processor([rows], sampling="random", generator=np.random.default_rng(seed))["input_features"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
    assert processor(rows_of(4), sampling="random")["input_features"].shape == (1, 10, 4)


def test_arrays_can_be_returned_instead_of_tensors(processor):
    for kind in ("np", None):
        batch = processor([rows_of(3), rows_of(5)], return_tensors=kind)
        assert isinstance(batch["input_features"], np.ndarray)
        assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_guided_videos_equal_the_official_input_of_the_second_step(case):
    processor, videos = AsmLocProcessor.from_config(case.config), case.pipeline["split"]["test"]
    features = [case.tensors[f"feature.{video}"] for video in videos]
    proposals = [case.proposals(video) for video in videos]
    weights = [
        sampling_weights(found, sampling_labels(found, None, case.config), len(rows), case.config)
        for found, rows in zip(proposals, features, strict=True)
    ]
    batch = processor(features, weights=weights, proposals=proposals, return_tensors="np")
    for row, video in enumerate(videos):
        official = case.tensors[f"test1.{video}.input_feature"]
        boxes = case.tensors[f"item_step1.{video}.proposal_bbox"]
        count = int(case.tensors[f"item_step1.{video}.proposal_count"][0])
        length = batch["attention_mask"][row].sum()
        np.testing.assert_allclose(batch["input_features"][row, :length], official, rtol=0, atol=1e-6)
        assert batch["num_features"][row] == len(features[row])
        assert batch["num_proposals"][row] == count
        assert sorted(batch["proposal_boxes"][row, :count].tolist()) == sorted(boxes[:count].tolist())


def test_training_videos_take_the_proposals_of_their_labels_only(processor):
    found = {
        "segments": np.array([[0.5, 1.0], [2.0, 3.0], [4.0, 4.5]]),
        "scores": np.array([0.9, 0.5, 0.4]),
        "labels": np.array([0, 1, 1]),
    }
    batch = processor([rows_of(9)] * 3, proposals=[found] * 3, label_ids=[[0], [1], None])
    assert batch["num_proposals"].tolist() == [1, 2, 3]
    assert batch["proposal_boxes"].shape == (3, 3, 2)
    assert (batch["proposal_boxes"][0, 1:] == 0).all(), "padding"
    assert processor(rows_of(9), proposals=found, label_ids=[1])["num_proposals"].tolist() == [2]


def segments_of(output, inputs, stages, warps, config):
    """Turn the outputs of one step, for the processor's inputs, into segments."""
    settings = {
        name: getattr(config, name)
        for name in ("class_threshold", "upsample_scale", "nms_threshold", "frames_per_second", "frames_per_snippet")
    }
    return [
        localize_segments(
            output.class_scores[index].numpy(),
            output.foreground_cas[index, :length].numpy(),
            output.attention[index, :length, 0].numpy(),
            int(inputs["num_features"][index]),
            stages=stages,
            warp=warps[index],
            **settings,
        )
        for index, length in enumerate(inputs["attention_mask"].sum(1).tolist())
    ]


def test_outputs_for_the_processors_inputs_become_the_segments_of_localize(case):
    videos = case.pipeline["split"]["test"][:4]
    parts = [FOLDER / case.name / f"{part}.safetensors" for part in ("state_dict_base", "state_dict")]
    model = convert_official_checkpoint("asm_loc", parts, case.options)
    processor = AsmLocProcessor.from_config(model.config)
    features = [case.tensors[f"feature.{video}"] for video in videos]
    warps, inputs = [None] * len(videos), processor(features)
    for step, expected in enumerate(model.localize(features, return_all_steps=True)):
        with torch.no_grad():
            output = model(**inputs, step=step, return_dict=True)
        results = segments_of(output, inputs, model.config.test_stages, warps, model.config)
        for found, wanted in zip(results, expected, strict=True):
            for key in ("segments", "scores", "labels"):
                np.testing.assert_allclose(found[key], wanted[key], rtol=0, atol=1e-9)
        proposals = segments_of(output, inputs, model.config.pseudo_stages, warps, model.config)
        weights = [
            sampling_weights(found, sampling_labels(found, None, model.config), len(rows), model.config)
            for found, rows in zip(proposals, features, strict=True)
        ]
        warps = [TimeWarp.from_weights(row) for row in weights]
        inputs = processor(features, weights=weights, proposals=proposals)


def test_features_that_do_not_fit_the_duration_are_named(processor, tmp_path):
    np.save(tmp_path / "fast.npy", rows_of(100))
    with pytest.warns(UserWarning, match=r"fast\.npy span 64\.0 s .* but the video lasts 32\.0 s"):
        processor([tmp_path / "fast.npy", rows_of(50)], durations=[32.0, None])
    with pytest.warns(UserWarning, match="features of video 0 span"):
        processor(rows_of(100), durations=32.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor([rows_of(100), rows_of(50)], durations=[64.3, 32.0])


def test_bad_features_are_named(processor, tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(tmp_path / "flat.npy", np.zeros(4))
    nan = rows_of(5)
    nan[3, 1] = np.nan
    wide = AsmLocProcessor()
    with pytest.raises(FileNotFoundError, match=r"feature file .*missing\.npy does not exist"):
        processor([tmp_path / "missing.npy"])
    for call, message in (
        (lambda: processor(rows_of(5, 6)), "features of size 6 where 4 are expected"),
        (lambda: wide(rows_of(3, 1024)), r"looks like RGB-only .*pair \(rgb, flow\)"),
        (lambda: processor(tmp_path / "flat.npy"), r"flat\.npy has shape \(4,\); features must be 2-D"),
        (lambda: processor(np.zeros((0, 4))), "has no rows"),
        (lambda: processor(nan), "nan in row 3, column 1"),
        (lambda: processor(tmp_path / "objects.npy"), "pickled Python objects"),
        (lambda: processor((rows_of(9, 2), rows_of(5, 2))), "9 rows but .* has 5"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.warns(UserWarning, match="the longer one is cut to 8"):
        assert processor((rows_of(9, 2), rows_of(8, 2)))["num_features"].item() == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": []}, "at least one video"),
        ({"features": [np.ones((3, 4))], "sampling": "dense"}, "must be 'uniform', 'random' or None, got 'dense'"),
        ({"features": [np.ones((3, 4))], "weights": np.ones((3,))}, "weights must be a list with one entry .* got 3"),
        ({"features": [np.ones((3, 4))], "durations": 2.0}, "durations must be a list .* 1 videos, got float"),
        ({"features": [np.ones((3, 4))] * 3, "proposals": load_case("thumos_tiny").proposals("video_test_0000001")},
         "proposals must be a list with one entry for each of 3 videos, got dict"),
        ({"features": np.ones((3, 4)), "weights": np.ones(2)}, r"must have shape \(3,\)"),
        ({"features": np.ones((30, 4)), "sampling": "random"}, "needs a generator"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_size": 0}, "feature_size must be positive, got 0"),
        ({"frames_per_second": -1}, "frames_per_second must be positive"),
        ({"proposal_extension": -0.1}, "proposal_extension must be 0 or more"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AsmLocProcessor(**settings)
