"""Other forms of convolutions that compute the same and are faster: with the batch norm behind them folded in, and
with channels as the innermost axis.
"""

from torch import channels_last_3d, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Attributes of the modules that call a convolution and then a norm on its result, and nothing in between.
_CONVOLUTIONS = ("convolution", "output")
_NORM = "normalization"


def fold_batch_norms(model: nn.Module) -> int:
    """Multiply batch norms into the convolutions before them, in place; for models that only answer from now on.

    Args:
        model: in evaluation mode; modules with a `convolution` (or `output`) that a `normalization` follows are found.

    Returns:
        how many norms are gone.

    Raises:
        ValueError: the model is in training mode, or has no such modules.
    """
    if model.training:
        raise ValueError("batch norms are folded with their running statistics; call model.eval() before")
    pairs = [
        (module, name)
        for module in model.modules()
        for name in _CONVOLUTIONS
        if isinstance(getattr(module, name, None), nn.Conv3d)
        and isinstance(getattr(module, _NORM, None), nn.BatchNorm3d)
    ]
    if not pairs:
        raise ValueError(f"{type(model).__name__} has no 3D convolutions with batch norms behind them to fold")
    for module, name in pairs:
        setattr(module, name, fuse_conv_bn_eval(getattr(module, name), getattr(module, _NORM)))
        setattr(module, _NORM, nn.Identity())
    return len(pairs)


def put_channels_last(model: nn.Module) -> None:
    """Lay out the weights of 3D convolutions so that they compute with channels as the innermost axis, in place.

    Values and shapes stay. Unlike `model.to(memory_format=torch.channels_last_3d)` it leaves parameters with other
    numbers of axes alone.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=channels_last_3d)
