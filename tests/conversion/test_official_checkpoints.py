import contextlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hf_vidmodels.conversion.official_checkpoints import load_strictly, read_state_dict


@pytest.fixture
def weights():
    return {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}


class Payload:
    """Would write a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("wrapper", [None, "model_state_dict", "state_dict"])
def test_files_of_torch_save_are_unwrapped(tmp_path, weights, wrapper):
    content = {wrapper: weights, "epoch": 1, "best_test_mAP": np.float64(0.5)} if wrapper else weights
    torch.save(content, tmp_path / "a.pth")
    for source in (tmp_path / "a.pth", content):
        read = read_state_dict(source)
        assert set(read) == set(weights)
        assert torch.equal(read["weight"], weights["weight"])


def test_safetensors_files_are_read(tmp_path, weights):
    save_file(weights, tmp_path / "a.safetensors")
    assert torch.equal(read_state_dict(str(tmp_path / "a.safetensors"))["weight"], weights["weight"])


def test_code_in_a_pickle_never_runs(tmp_path, weights):
    torch.save({"state_dict": weights, "extra": Payload(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth holds more than weights, .* can run any code"):
        read_state_dict(tmp_path / "evil.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    with pytest.raises(ValueError, match=r"plain\.pkl"):
        read_state_dict(tmp_path / "plain.pkl")
    assert not (tmp_path / "ran").exists()


def test_unreadable_files_and_other_content_are_named(tmp_path, weights):
    torch.save(weights, tmp_path / "cut.pth")
    content = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00")
    (tmp_path / "weights.txt").write_text("1 2 3")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 4}, tmp_path / "numbers.pth")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth does not exist"):
        read_state_dict(tmp_path / "absent.pth")
    for name, message in (
        ("cut.pth", r"cut\.pth is not a complete file of torch.save"),
        ("cut.safetensors", "not a complete safetensors file"),
        ("weights.txt", r"weights\.txt is not a checkpoint; use \.safetensors"),
        ("list.pth", "expected a dict of tensors, got list"),
        ("numbers.pth", "'epoch' is of type int"),
    ):
        with pytest.raises(ValueError, match=message):
            read_state_dict(tmp_path / name)
    torch.save({0: torch.zeros(2)}, tmp_path / "optimizer.pth")
    with pytest.raises(ValueError, match=r"optimizer\.pth is no dict of named weights: it has the name 0"):
        read_state_dict(tmp_path / "optimizer.pth")
    with pytest.raises(ValueError, match="the given state dict holds no weights"):
        read_state_dict({})


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (torch.zeros(2, dtype=torch.complex64), "no plain numbers in 'odd' but complex64"),
        (torch.zeros(2, dtype=torch.bool), "no plain numbers in 'odd' but bool"),
        (torch.zeros(2).to_sparse(), "no plain numbers in 'odd' but float32 .torch.sparse_coo"),
        (torch.tensor([1.0, float("nan")]), "values in 'odd' that are NaN or infinite"),
        (torch.tensor([1.0, float("-inf")], dtype=torch.float16), "values in 'odd' that are NaN or infinite"),
    ],
)
def test_values_that_no_network_computes_with_are_named(value, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_state_dict({"weight": torch.ones(2), "odd": value})
    assert read_state_dict({"num_batches_tracked": torch.tensor(3)})["num_batches_tracked"] == 3


def test_whole_numbers_are_no_weights():
    layer = nn.Linear(2, 1, bias=False)
    with pytest.raises(ValueError, match="theirs holds torch.int64 but the model's weight torch.float32"):
        load_strictly(layer, {"weight": torch.ones(1, 2, dtype=torch.int64)}, {"weight": "theirs"})


def test_an_archive_that_announces_far_more_than_it_holds_is_not_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(
        ValueError, match="bomb.pth is not a complete file of torch.save .it announces 50,000,000 bytes"
    ):
        read_state_dict(tmp_path / "bomb.pth")


@pytest.mark.parametrize("seed", range(30))
def test_damaged_files_are_one_sentence_wherever_the_damage_is(tmp_path, weights, seed):
    torch.save(weights, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(content), 40):
        content[place] = rng.integers(0, 256)
    (tmp_path / "a.pth").write_bytes(content[: rng.integers(10, len(content) + 1)])
    with contextlib.suppress(ValueError):
        read_state_dict(tmp_path / "a.pth")


def test_strict_loading_uses_every_weight_or_names_it(weights):
    def load(state_dict):
        model = torch.nn.Linear(3, 2)
        load_strictly(model, state_dict, {key: f"official.{key}" for key in state_dict})
        return model

    assert torch.equal(load(weights).weight, weights["weight"])
    for state_dict, message in (
        (weights | {"scale": torch.ones(1)}, r"no place for: official\.scale"),
        ({"weight": weights["weight"]}, "lacks weights of the model: bias"),
        (weights | {"bias": torch.zeros(4)}, r"official\.bias has shape \(4,\) but the model's bias has \(2,\)"),
        (weights | {f"w{index}": torch.ones(1) for index in range(20)}, "and 12 more"),
    ):
        with pytest.raises(ValueError, match=message):
            load(state_dict)
