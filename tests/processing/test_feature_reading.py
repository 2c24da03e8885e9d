import contextlib
import pickle
import warnings

import h5py
import numpy as np
import pytest
import torch

from hf_vidmodels.processing.feature_reading import check_feature_rate, feature_shape, read_features


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def save(path, rows, **named):
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".npz":
        np.savez(path, **(named or {"features": rows}))
    else:
        with h5py.File(path, "w") as file:
            for name, array in (named or {"features": rows}).items():
                file[name] = array
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.hdf5"])
def test_all_file_formats_give_the_same_rows(tmp_path, rows, name):
    path = save(tmp_path / name, rows)
    loaded = read_features(path, expected_width=4)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, rows)
    assert feature_shape(str(path)) == (6, 4)


def test_a_float32_npy_file_is_mapped_and_never_changed(tmp_path, rows):
    path = save(tmp_path / "a.npy", rows)
    loaded = read_features(path)
    assert isinstance(loaded, np.memmap)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(loaded).zero_()
    np.testing.assert_array_equal(np.load(path), rows)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int32])
def test_other_number_types_become_float32(tmp_path, rows, dtype):
    loaded = read_features(save(tmp_path / "a.npy", (10 * rows).astype(dtype)))
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, (10 * rows).astype(dtype).astype(np.float32))


def test_arrays_tensors_and_lists_of_rows_are_accepted(rows):
    for source in (rows, torch.from_numpy(rows), rows.tolist(), torch.from_numpy(rows).double()):
        np.testing.assert_array_equal(read_features(source), rows)
    assert read_features(torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)).shape == (2, 3)
    assert read_features([[1.0, 2.0], [3.0, 4.0]]).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_a_key_chooses_one_of_several_arrays(tmp_path, rows, name):
    path = save(tmp_path / name, None, rgb=rows, flow=-rows)
    np.testing.assert_array_equal(read_features(f"{path}::flow"), -rows)
    assert feature_shape(f"{path}::rgb") == (6, 4)
    with pytest.raises(ValueError, match=r"holds 2 arrays .*::key"):
        read_features(path)
    with pytest.raises(ValueError, match=r"::depth does not exist; the file holds"):
        read_features(f"{path}::depth")


def test_keys_of_hdf5_reach_into_groups(tmp_path, rows):
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["video_1/rgb"] = rows
        file["video_2/rgb"] = -rows
    np.testing.assert_array_equal(read_features(f"{tmp_path / 'all.h5'}::video_2/rgb"), -rows)


def test_rgb_and_flow_from_different_sources_are_joined_in_this_order(tmp_path, rows):
    rgb, flow = save(tmp_path / "rgb.npy", rows), save(tmp_path / "both.npz", None, flow=2 * rows, rgb=rows)
    for pair in ((rgb, f"{flow}::flow"), [str(rgb), 2 * rows], (rows, torch.from_numpy(2 * rows))):
        np.testing.assert_array_equal(read_features(pair, 8), np.concatenate([rows, 2 * rows], axis=1))
        assert feature_shape(pair) == (6, 8)


def test_a_stream_that_is_one_row_longer_is_cut_with_a_warning(rows):
    with pytest.warns(UserWarning, match="6 rows and .* 5: the longer one is cut to 5"):
        joined = read_features((rows, rows[:5]))
    np.testing.assert_array_equal(joined, np.concatenate([rows[:5], rows[:5]], axis=1))
    assert feature_shape((rows, rows[:5])) == (5, 8)


def test_streams_that_differ_by_more_are_refused(tmp_path, rows):
    rgb, flow = save(tmp_path / "rgb.npy", rows), save(tmp_path / "flow.npy", rows[:4])
    for use in (read_features, feature_shape):
        with pytest.raises(ValueError, match=r"rgb.npy has 6 rows but .*flow.npy has 4"):
            use((rgb, flow))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npy does not exist"):
        read_features(tmp_path / "nowhere.npy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"shape \(5,\); features must be 2-D"),
        (np.zeros((1, 5, 4)), r"shape \(1, 5, 4\).*leading axis"),
        (np.zeros((0, 4)), "has no rows"),
        (np.zeros((4, 0)), "width 0"),
        (np.array([["a", "b"]]), "holds values of type"),
        (np.ones((3, 2), dtype=complex), "holds values of type complex128"),
        (np.ones((3, 2), dtype=bool), "holds values of type bool"),
    ],
)
def test_what_is_not_a_table_of_numbers_is_refused(tmp_path, array, message):
    path = save(tmp_path / "a.npy", array)
    for use in (read_features, feature_shape):
        with pytest.raises(ValueError, match=message) as error:
            use(path)
        assert "a.npy" in str(error.value)


def test_a_wrong_width_names_file_found_and_expected(tmp_path, rows):
    path = save(tmp_path / "a.npy", rows)
    with pytest.raises(ValueError, match=r"a\.npy has features of size 4 where 7 are expected; extract"):
        read_features(path, 7)
    with pytest.raises(ValueError, match="looks transposed"):
        read_features(path, 6)


def test_half_the_width_is_recognised_as_a_single_stream():
    with pytest.raises(ValueError, match=r"size 1024 where 2048 .* looks like RGB-only .* pair \(rgb, flow\)"):
        read_features(np.zeros((3, 1024)), 2048)
    with pytest.raises(ValueError, match="one stream of two"):
        read_features(np.zeros((3, 5)), 10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_by_row(tmp_path, rows, value):
    rows[3, 1] = rows[5, 0] = value
    path = save(tmp_path / "a.npy", rows)
    with pytest.raises(ValueError, match=rf"a\.npy has the value {value} in row 3, column 1 \(and 1 more rows\)"):
        read_features(path)
    assert read_features(path, check_values=False).shape == (6, 4)


def test_numbers_too_large_for_float32_are_refused():
    with pytest.raises(ValueError, match="the value inf in row 0"), np.errstate(over="ignore"):
        read_features(np.full((2, 2), 1e300))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_pickled_arrays_are_refused(tmp_path, name):
    path = save(tmp_path / name, np.array([[1, None]], dtype=object))
    with pytest.raises(ValueError, match=r"pickled Python objects.*scripts/convert_wtalc_annotations\.py"):
        read_features(path)


def test_other_files_than_pickles_are_not_called_so(tmp_path):
    (tmp_path / "a.npy").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"a\.npy is not a complete \.npy file \(it begins with b'<html>'\)"):
        read_features(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(pickle.dumps([1.0]))
    with pytest.raises(ValueError, match="pickled Python objects"):
        read_features(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5"])
@pytest.mark.parametrize("kept", [0, 40, 150])
def test_damaged_files_are_refused_in_one_sentence(tmp_path, rows, name, kept):
    path = save(tmp_path / name, rows)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"{name} is not a complete"):
        read_features(path)


def test_other_kinds_of_files_and_ragged_lists_are_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.mp4 is not a feature file; use one of \.npy"):
        read_features(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="ragged"):
        read_features([[1, 2], [3], [4]])


def test_a_rate_that_fits_the_duration_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # 100 snippets of 16 frames at 25 fps last 64 s; 5 % and two snippets are taken for rounding.
        assert check_feature_rate(100, 64.0)
        assert check_feature_rate(100, 66.0)
        assert check_feature_rate(3, 0.7)


def test_a_rate_that_does_not_fit_warns_and_says_what_would():
    with pytest.warns(UserWarning, match=r"video_7 span 64\.0 s .* lasts 53\.3 s; 30\.0 fps or 13\.3 frames"):
        assert not check_feature_rate(100, 53.3333, 25.0, 16, "video_7")


def test_files_that_announce_gigabytes_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_vidmodels.processing.feature_reading.MAX_BYTES", 10**6)
    np.savez_compressed(tmp_path / "a.npz", np.zeros((1000, 400), np.float32))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(10**9, 1000), dtype="float32", chunks=(1000, 1000))
    for name in ("a.npz", "a.h5"):
        with pytest.raises(ValueError, match=rf"{name} announces an array of [\d,]+ bytes"):
            read_features(tmp_path / name)


@pytest.mark.parametrize("seed", range(20))
def test_damage_inside_hdf5_is_one_sentence(tmp_path, seed):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.ones((20, 4), np.float32), compression="gzip")
    content = bytearray((tmp_path / "a.h5").read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(100, len(content), 30):
        content[place] = rng.integers(0, 256)
    (tmp_path / "a.h5").write_bytes(content)
    with contextlib.suppress(ValueError):
        read_features(tmp_path / "a.h5")
