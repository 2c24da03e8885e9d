"""An MLP in parts gives the values and gradients of its layers, and leaves to them what it cannot do."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode
from transformers.activations import ACT2FN

from hf_vidmodels.modeling.backbones import video_transformer
from hf_vidmodels.modeling.backbones.video_transformer import TransformerMlp
from hf_vidmodels.modeling.ops import cached_mlp as module
from hf_vidmodels.modeling.ops.cached_mlp import cached_mlp, takes_cached_mlp

WIDTH, EXPANDED = 3, 8


@pytest.fixture(autouse=True)
def _small_cache(monkeypatch):
    """Four tokens fill the cache, so that eleven take three parts, the last shorter."""
    monkeypatch.setattr(module, "CACHED_ACTIVATION", 4 * EXPANDED)


def layers(activation="gelu", dtype=torch.double):
    torch.manual_seed(0)
    return [
        layer.to(dtype) for layer in (nn.Linear(WIDTH, EXPANDED), ACT2FN[activation], nn.Linear(EXPANDED, 2 * WIDTH))
    ]


def tokens_of(dtype=torch.double):
    return torch.randn(1, 11, WIDTH, generator=torch.Generator().manual_seed(1), dtype=dtype)


def results(apply, tokens, expand, activation, contract, wanted):
    """Give the values, and the gradients that are wanted."""
    for tensor in wanted:
        tensor.requires_grad_()
    mapped = apply(tokens, expand, activation, contract)
    upstream = torch.randn(mapped.shape, generator=torch.Generator().manual_seed(2), dtype=mapped.dtype)
    return mapped.detach(), *torch.autograd.grad(mapped, wanted, upstream)


def one_after_the_other(tokens, expand, activation, contract):
    return contract(activation(expand(tokens)))


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh", "relu", "quick_gelu"])
def test_values_and_gradients_are_those_of_the_layers(activation):
    tokens, (expand, act, contract) = tokens_of(), layers(activation)
    wanted = [tokens, *expand.parameters(), *contract.parameters()]
    parts = results(cached_mlp, tokens, expand, act, contract, wanted)
    torch.testing.assert_close(parts, results(one_after_the_other, tokens, expand, act, contract, wanted))


@pytest.mark.parametrize("learned", ["tokens", "expand", "contract", "biases"])
def test_what_learns_nothing_gets_no_gradient(learned):
    tokens, (expand, act, contract) = tokens_of(), layers()
    for layer in (expand, contract):
        layer.requires_grad_(False)
    wanted = {
        "tokens": [tokens],
        "expand": [*expand.parameters()],
        "contract": [*contract.parameters()],
        "biases": [expand.bias, contract.bias],
    }[learned]
    parts = results(cached_mlp, tokens, expand, act, contract, wanted)
    torch.testing.assert_close(parts, results(one_after_the_other, tokens, expand, act, contract, wanted))


def test_less_is_kept_for_the_gradient():
    tokens, (expand, act, contract) = tokens_of().requires_grad_(), layers()

    def kept(apply):
        saved = []
        with saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
            apply(tokens, expand, act, contract)
        return sum({tensor.data_ptr(): tensor.numel() for tensor in saved}.values())

    assert kept(one_after_the_other) - kept(cached_mlp) == tokens.shape[1] * EXPANDED


def test_operations_of_both_passes_are_counted():
    tokens, (expand, act, contract) = tokens_of().requires_grad_(), layers()
    with FlopCounterMode(display=False) as counter:
        cached_mlp(tokens, expand, act, contract).sum().backward()
    products = 3 * tokens.shape[1] * (expand.weight.numel() + contract.weight.numel())
    assert counter.get_total_flops() == 2 * products


class Adapter(nn.Linear):
    """A layer that does more than its weight says."""

    def forward(self, tokens):
        return 2 * super().forward(tokens)


def hooked(layer):
    layer.register_forward_hook(lambda *_: None)
    return layer


def set_from_outside(layer):
    layer.forward = lambda tokens: tokens
    return layer


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda layer: Adapter(layer.in_features, layer.out_features).double(), id="subclass"),
        pytest.param(hooked, id="hook"),
        pytest.param(set_from_outside, id="forward set from outside"),
        pytest.param(parametrizations.weight_norm, id="parametrized"),
        pytest.param(
            lambda layer: nn.Linear(layer.in_features, layer.out_features, bias=False).double(), id="no bias"
        ),
        pytest.param(lambda layer: layer.float(), id="another dtype"),
    ],
)
def test_layers_that_are_more_than_their_weights_are_left_alone(changed):
    expand, act, contract = layers()
    assert takes_cached_mlp(tokens_of(), expand, act, contract)
    assert not takes_cached_mlp(tokens_of(), expand, act, changed(contract))
    assert not takes_cached_mlp(tokens_of(), changed(expand), act, layers()[2])


def test_bfloat16_is_left_alone():
    assert not takes_cached_mlp(tokens_of(torch.bfloat16), *layers(dtype=torch.bfloat16))


def test_an_activation_that_learns_and_autocast_are_left_alone():
    expand, act, contract = layers()
    assert not takes_cached_mlp(tokens_of(), expand, nn.PReLU(), contract)
    with torch.autocast("cpu", torch.bfloat16):
        assert not takes_cached_mlp(tokens_of(), expand, act, contract)


def mlp_of(dropout=0.0):
    torch.manual_seed(0)
    return TransformerMlp(WIDTH, EXPANDED / WIDTH, 2 * WIDTH, "gelu", dropout)


def test_a_backbone_trains_in_parts(monkeypatch):
    mlp, tokens = mlp_of(), tokens_of(torch.float).requires_grad_()
    taken = []
    monkeypatch.setattr(video_transformer, "cached_mlp", lambda *inputs: taken.append(True) or cached_mlp(*inputs))
    torch.testing.assert_close(mlp(tokens), one_after_the_other(tokens, mlp.expand, mlp.activation, mlp.contract))
    mlp(tokens[:, :4])
    assert taken == [True], "tokens that the cache holds are no case for parts"
    with torch.no_grad():
        torch.testing.assert_close(mlp(tokens), one_after_the_other(tokens, mlp.expand, mlp.activation, mlp.contract))
    assert taken == [True]


def test_dropout_is_left_to_the_layers(monkeypatch):
    mlp, tokens = mlp_of(dropout=0.5), tokens_of(torch.float)
    monkeypatch.setattr(video_transformer, "cached_mlp", None)
    assert not torch.equal(mlp(tokens), mlp(tokens))
    with pytest.raises(TypeError):
        mlp.eval()(tokens)
