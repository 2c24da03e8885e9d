"""The memory that clips share, against values derived independently from its formulae, in float64."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_vidmodels.modeling.layers.shared_memory import MemoryState, SharedMemory

FIXTURES = Path(__file__).parents[2] / "fixtures" / "collaborative_memory"
IO, WEIGHTS = (load_file(FIXTURES / f"{name}.safetensors") for name in ("io", "weights"))
KINDS = [
    *((kind, "gating") for kind in ("associative", "associative_softmax", "average", "self_attention")),
    ("associative", "gating_residual"),
    ("associative", "residual"),
]
STREAMED = ["associative", "associative_softmax", "average"]


def memory_of(memory_type="associative", infusion_type="gating", stop_gradient="none", dtype=torch.float64):
    memory = SharedMemory(6, 4, 5, memory_type, infusion_type, stop_gradient).to(dtype)
    memory.load_state_dict({name: WEIGHTS[name].to(dtype) for name in memory.state_dict()})
    return memory


def clip_logits(pooled):
    return pooled @ WEIGHTS["classifier.weight"].to(pooled.dtype).T + WEIGHTS["classifier.bias"].to(pooled.dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("memory_type", "infusion_type"), KINDS)
def test_every_memory_and_infusion_gives_the_reference_values(memory_type, infusion_type, dtype, tolerance):
    memory = memory_of(memory_type, infusion_type, dtype=dtype)
    infused = memory(IO["clip_features"].to(dtype), return_maps=True)
    name = f"{memory_type}.{infusion_type}"
    expected = {"pooled": IO[f"{name}.clip_logits"], "maps": IO[f"{name}.features"]}
    found = {"pooled": clip_logits(infused.pooled), "maps": infused.maps}
    torch.testing.assert_close(
        found, {key: value.to(dtype) for key, value in expected.items()}, atol=tolerance, rtol=0
    )
    if memory_type != "self_attention":
        torch.testing.assert_close(
            infused.memory.content, IO[f"{memory_type}.memory"].to(dtype), atol=tolerance, rtol=0
        )


@pytest.mark.parametrize(("stop", "name"), [("none", "full"), ("other_clips", "stop_gradient_on_other_clips")])
def test_gradients_are_the_reference_values(stop, name):
    features = IO["clip_features"].clone().requires_grad_()
    logits = clip_logits(memory_of(stop_gradient=stop)(features).pooled)
    labels = IO["labels"]
    video = torch.nn.functional.cross_entropy(logits.mean(1), labels)
    clip = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(3))
    (video + 0.5 * clip).backward()
    torch.testing.assert_close(features.grad, IO[f"grad.{name}"], atol=1e-7, rtol=0)


def test_clips_one_after_the_other_see_the_reference_memory():
    memory, past = memory_of(), None
    for number, clip in enumerate(IO["clip_features"].unbind(1)):
        infused = memory(clip.unsqueeze(1), past_memory=past)
        past = infused.memory
        torch.testing.assert_close(past.content, IO["running.memory"][:, number], atol=1e-10, rtol=0)
        torch.testing.assert_close(
            clip_logits(infused.pooled)[:, 0], IO["running.clip_logits"][:, number], atol=1e-10, rtol=0
        )


@pytest.mark.parametrize("memory_type", STREAMED)
def test_what_was_pushed_clip_by_clip_reads_like_all_at_once(memory_type):
    memory, past = memory_of(memory_type, "residual"), None
    features = IO["clip_features"] * 20
    whole = memory(features, return_maps=True)
    for clip in features.unbind(1):
        past = memory(clip.unsqueeze(1), past_memory=past).memory
    read = memory(features, past_memory=past, update=False, return_maps=True)
    torch.testing.assert_close(read.maps, whole.maps, atol=1e-10, rtol=0)
    assert [part.shape for part in past] == [part.shape for part in whole.memory]


@pytest.mark.parametrize(("memory_type", "infusion_type"), KINDS)
@pytest.mark.parametrize("stop", ["none", "other_clips", "all"])
def test_clips_that_are_masked_change_nothing_whatever_they_hold(memory_type, infusion_type, stop):
    memory = memory_of(memory_type, infusion_type, stop)
    features = IO["clip_features"].clone()
    mask = torch.tensor([[True, True, False], [True, False, True]])
    features[~mask] = torch.inf
    features.requires_grad_()
    infused = memory(features, mask, return_maps=True)
    for number, kept in enumerate(mask):
        alone = memory(features[number : number + 1, kept], return_maps=True)
        torch.testing.assert_close(infused.pooled[number, kept], alone.pooled[0])
        torch.testing.assert_close(infused.maps[number, kept], alone.maps[0])
    infused.pooled[mask].sum().backward()
    assert features.grad.isfinite().all() and not features.grad[~mask].any()


@pytest.mark.parametrize("memory_type", [kind for kind, infusion in KINDS if infusion == "gating"])
@pytest.mark.parametrize("infusion_type", ["gating", "residual"])
def test_stopping_gradients_changes_no_value_and_the_gradients_that_it_says(memory_type, infusion_type):
    features = IO["clip_features"]
    values, gradients = {}, {}
    for stop in ("none", "other_clips", "all"):
        leaf = features.clone().requires_grad_()
        infused = memory_of(memory_type, infusion_type, stop)(leaf, return_maps=True)
        values[stop] = infused.maps
        # What reaches the second clip from a loss on the first alone comes through the memory.
        (gradients[stop],) = torch.autograd.grad(infused.pooled[:, 0].square().sum(), leaf)
    torch.testing.assert_close(values["other_clips"], values["none"])
    torch.testing.assert_close(values["all"], values["none"])
    assert (
        gradients["none"][:, 1].any() and not gradients["other_clips"][:, 1].any() and not gradients["all"][:, 1].any()
    )
    assert (gradients["other_clips"] - gradients["all"])[:, 0].abs().max() > 1e-9


@pytest.mark.parametrize(("memory_type", "infusion_type"), KINDS)
def test_one_reading_clip_finds_what_it_finds_among_all(memory_type, infusion_type):
    memory = memory_of(memory_type, infusion_type, "other_clips")
    everyone = memory(IO["clip_features"], return_maps=True)
    single = memory(IO["clip_features"], reader=1, return_maps=True)
    torch.testing.assert_close(single.maps, everyone.maps[:, 1:2])
    torch.testing.assert_close(single.pooled, everyone.pooled[:, 1:2])


def test_half_precision_sums_thousands_of_terms_exactly():
    torch.manual_seed(0)
    memory = SharedMemory(8, 2, 2)
    features = torch.randn(1, 10, 8, 8, 7, 7, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = memory(features).memory
    assert found.total.dtype == torch.float32
    exact = memory(features).memory
    # Keys and values are rounded to 8 bits; sums of 3920 terms in them would be off by far more.
    assert (found.total - exact.total).abs().max() < 0.02 * exact.total.abs().max()


def test_the_memory_of_self_attention_cannot_be_handed_on():
    past = MemoryState(torch.zeros(2, 4, 5), torch.ones(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="self_attention memory keeps all positions"):
        memory_of("self_attention")(IO["clip_features"], past_memory=past)
    with pytest.raises(ValueError, match="no past_memory was given"):
        memory_of()(IO["clip_features"], update=False)
