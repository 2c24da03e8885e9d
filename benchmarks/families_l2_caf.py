"""Which classifiers `L2CafForObjectLocalization.from_network` wraps: one of each family, with random weights.

    python benchmarks/families_l2_caf.py                     # all, about 20 minutes on one core
    python benchmarks/families_l2_caf.py --library timm --name swin

A family is wrapped as it is, or refused with a layer and a grid; these are then tried. Exit status 1 if one fails.
"""

import argparse
import ast
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import nn

from hf_vidmodels import L2CafForObjectLocalization

TORCHVISION = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
mobilenet_v2 mobilenet_v3_small regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t
swin_v2_t vgg11 vit_b_32 wide_resnet50_2
"""
TIMM = """
beit_base_patch16_224 cait_xxs24_224 coat_tiny coatnet_nano_rw_224 convit_tiny convmixer_768_32 convnextv2_atto
crossvit_9_240 cs3darknet_s davit_tiny deit3_small_patch16_224 deit_tiny_distilled_patch16_224 dla34 dm_nfnet_f0
edgenext_xx_small efficientformer_l1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8
focalnet_tiny_srf gcvit_xxtiny gernet_s ghostnetv2_100 hardcorenas_a hgnetv2_b0 hiera_tiny_224 hrnet_w18_small
inception_next_tiny lcnet_050 levit_128s mambaout_femto mixer_s32_224 mobilenetv4_conv_small mobileone_s0
mobilevit_xxs mobilevitv2_050 mvitv2_tiny nest_tiny nextvit_small pit_ti_224 poolformer_s12 pvt_v2_b0 regnety_002
repghostnet_050 repvgg_a0 repvit_m1 res2net50_14w_8s resmlp_12_224 resnest14d rexnet_100 selecsls42 sequencer2d_s
skresnet18 starnet_s1 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 tiny_vit_5m_224
tnt_s_patch16_224 tresnet_m twins_pcpvt_small visformer_tiny vit_small_patch14_reg4_dinov2
vit_base_patch16_siglip_224 vit_tiny_patch16_224 volo_d1_224 vovnet39a xception41 xcit_nano_12_p16_224
"""
# Wrappers; one that needs a further library; those that read clusters of colours, cut patches or text too; and one
# whose answer has no logits.
LEFT_OUT = ("timm_wrapper", "l2_caf", "dinat", "imagegpt", "siglip2", "shieldgemma2", "pp_lcnet")
NUM_CLASSES = 5


def networks(library: str) -> Iterator[tuple[str, Callable[[], tuple[nn.Module, int]]]]:
    """Give name and maker of each network; a maker gives it with the side of its pictures."""
    if library == "torchvision":
        import torchvision

        for name in TORCHVISION.split():
            size = 299 if name == "inception_v3" else 256 if name == "swin_v2_t" else 224
            yield (
                name,
                lambda name=name, size=size: (torchvision.models.get_model(name, num_classes=NUM_CLASSES), size),
            )
    elif library == "timm":
        yield from ((name, lambda name=name: _timm(name)) for name in TIMM.split())
    else:
        from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

        for config_class in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            if config_class.model_type not in LEFT_OUT:
                yield config_class.model_type, lambda config_class=config_class: _transformers(config_class)


def _timm(name: str) -> tuple[nn.Module, int]:
    import timm

    network = timm.create_model(name, num_classes=NUM_CLASSES)
    return network, network.pretrained_cfg["input_size"][-1]


def _transformers(config_class: type) -> tuple[nn.Module, int]:
    from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    config = config_class(num_labels=NUM_CLASSES)
    size = getattr(config, "image_size", None) or getattr(getattr(config, "vision_config", None), "image_size", 224)
    size = min(size if isinstance(size, int) else size[0], 384)
    classes = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[config_class]
    network = (classes if isinstance(classes, type) else classes[0])(config)
    return network, size


def try_network(network: nn.Module, size: int) -> str:
    """Explain noise and say what was filtered.

    Raises:
        ValueError, RuntimeError: the network is refused without a way out that works, or its heat map is none.
    """
    picture, settings, refused = torch.randn(1, 3, size, size), {"max_iterations": 3, "image_size": size}, ""
    try:
        found, layer = _explain(network, picture, settings)
    except ValueError as error:
        example = re.search(r"target_layer='([^']*)'(?:, token_grid=(\([^)]*\)))?", str(error))
        if example is None:
            raise
        if example[2]:
            settings["token_grid"] = ast.literal_eval(example[2])
        refused = "refused, then "
        found, layer = _explain(network, picture, settings | {"target_layer": example[1]})
    rows, columns = found.attention.shape[-2:]
    if abs(rows - columns) > 1 or not found.attention.isfinite().all():
        raise ValueError(f"a {rows} x {columns} map of a square picture")
    return f"{refused}{layer}, {rows} x {columns}, {found.solver}"


def _explain(network: nn.Module, picture: torch.Tensor, settings: dict) -> tuple:
    model = L2CafForObjectLocalization.from_network(network, **settings)
    return model.explain(picture), model.filter_layer(picture)


def main() -> None:
    """Try all networks that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=["torchvision", "timm", "transformers"], help="default: all three")
    parser.add_argument("--name", default="", help="only names that contain this")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    failed = count = 0
    for library in [arguments.library] if arguments.library else ["torchvision", "timm", "transformers"]:
        for name, make in networks(library):
            if arguments.name not in name:
                continue
            torch.manual_seed(0)
            start = time.perf_counter()
            count += 1
            try:
                network, size = make()
                # A head that begins at zero would see nothing anywhere.
                for parameter in network.parameters():
                    if parameter.dim() > 1 and not parameter.any():
                        nn.init.normal_(parameter, std=0.02)
                answer = try_network(network.eval(), size)
            except Exception as error:
                failed += 1
                answer = f"FAILED {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            print(f"{library} | {name} | {answer} | {time.perf_counter() - start:.1f} s", flush=True)
    print(f"{count} networks, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
