"""How published files name the weights of residual video networks.

A layout says for every *site* of a network (a convolution with its norm) what its weights are called there. Our names
are looked up for all sites that a network could have, so that one direction is enough and nothing is left over unseen.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from ..configuration.configuration_video_resnet import NUM_STAGES
from .official_checkpoints import listed

MOST_BLOCKS = 48
BLOCK_PARTS = ("reduce", "temporal", "spatial", "expand", "shortcut")
NONLOCAL_PARTS = ("query", "key", "value", "output")
CONVOLUTION_LEAVES = ("weight", "bias")
NORM_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Site:
    """A convolution with its norm, or the classifier.

    Attributes:
        kind: `"stem"`, `"block"`, `"nonlocal"`, `"lateral"` or `"classifier"`.
        pathway: 0 = the only or the slow one, 1 = the fast one.
        stage: 0 to 3 for res2 to res5; of a lateral connection 0 = behind the stem.
        block: number in the stage.
        part: of a residual or non-local block.
    """

    kind: str
    pathway: int = 0
    stage: int = 0
    block: int = 0
    part: str = ""

    @property
    def names(self) -> tuple[str, str]:
        """Our names of convolution (or linear layer) and norm, inside `VideoResNetForActionDetection`."""
        if self.kind == "classifier":
            return "classifier", ""
        if self.kind == "lateral":
            prefix = f"backbone.laterals.{self.stage}"
        elif self.kind == "stem":
            prefix = f"backbone.pathways.{self.pathway}.stem"
        elif self.kind == "nonlocal":
            block = f"backbone.pathways.{self.pathway}.nonlocal_blocks.{self.stage + 1}_{self.block}"
            return f"{block}.{self.part}", f"{block}.normalization" if self.part == "output" else ""
        else:
            prefix = f"backbone.pathways.{self.pathway}.stages.{self.stage}.{self.block}.{self.part}"
        return f"{prefix}.convolution", f"{prefix}.normalization"


# Gives the names of convolution and norm at a site; an empty or missing name has no weights there.
Naming = Callable[[Site], tuple[str, str] | None]


@dataclass(frozen=True)
class ResNetLayout:
    """One way to name weights.

    Attributes:
        name: of the code that writes it.
        mark: pattern of a name that only this layout has.
        naming: names of the weights of a site.
        convolution_leaves: endings for `CONVOLUTION_LEAVES`.
        norm_leaves: endings for `NORM_LEAVES`.
        has_res2_pool: whether a network has a pooling behind res2; None where names do not show it.
    """

    name: str
    mark: str
    naming: Naming
    convolution_leaves: tuple[str, ...] = (".weight", ".bias")
    norm_leaves: tuple[str, ...] = (".weight", ".bias", ".running_mean", ".running_var", ".num_batches_tracked")
    has_res2_pool: bool | None = None


@dataclass(frozen=True)
class RenamedWeights:
    """Weights under our names.

    Attributes:
        layout: that the checkpoint has.
        weights: by our names; those of a 2D network are 2D still.
        official_names: of each what the checkpoint calls it.
    """

    layout: ResNetLayout
    weights: dict[str, torch.Tensor]
    official_names: dict[str, str]


def rename_weights(weights: Mapping[str, torch.Tensor]) -> RenamedWeights:
    """Recognise the layout of a checkpoint and give its weights our names.

    Raises:
        ValueError: no layout is recognised, or a name belongs to none of its weights.
    """
    given = {_unwrapped(name): value for name, value in weights.items()}
    layout = next((layout for layout in layouts() if any(re.match(layout.mark, name) for name in given)), None)
    if layout is None:
        known = ", ".join(sorted({layout.name for layout in layouts()}))
        raise ValueError(f"weights such as {listed(sorted(given))} are of none of the known layouts: {known}")
    if layout.name == "pytorchvideo":
        layout = _pytorchvideo_layout(given)
    official_names = {ours: official for ours, official in name_sites(layout) if official in given}
    if unknown := sorted(set(given) - set(official_names.values())):
        raise ValueError(
            f"the checkpoint looks like one of {layout.name}, which has no such weights: {listed(unknown)}"
        )
    return RenamedWeights(layout, {ours: given[name] for ours, name in official_names.items()}, official_names)


def name_sites(layout: ResNetLayout) -> Iterator[tuple[str, str]]:
    """Give our name and the layout's of every weight that a network could have."""
    for site in _all_sites():
        official = layout.naming(site)
        if official is None:
            continue
        for ours, theirs, our_leaves, their_leaves in (
            (site.names[0], official[0], CONVOLUTION_LEAVES, layout.convolution_leaves),
            (site.names[1], official[1], NORM_LEAVES, layout.norm_leaves),
        ):
            if ours and theirs:
                for leaf, ending in zip(our_leaves, their_leaves, strict=False):
                    yield f"{ours}.{leaf}", f"{theirs}{ending}"


def _all_sites() -> Iterator[Site]:
    yield Site("classifier")
    for stage in range(NUM_STAGES):
        yield Site("lateral", stage=stage)
    for pathway in range(2):
        yield Site("stem", pathway)
        for stage in range(NUM_STAGES):
            for block in range(MOST_BLOCKS):
                for part in BLOCK_PARTS:
                    yield Site("block", pathway, stage, block, part)
                for part in NONLOCAL_PARTS:
                    yield Site("nonlocal", pathway, stage, block, part)


def _unwrapped(name: str) -> str:
    """Take off what wrappers put before names."""
    name = re.sub(r"^(module\.)+", "", name)
    return name.removeprefix("model.") if re.match(r"model\.(blocks|detection_head)\.", name) else name


def _pytorchvideo_layout(names: Mapping[str, torch.Tensor]) -> ResNetLayout:
    """Give pytorchvideo's layout with the numbers of this network's blocks: a pooling behind res2 counts as one."""
    is_dual = any(".multipathway_blocks." in name for name in names)
    numbers = {int(match[1]) for name in names if (match := re.match(r"blocks\.(\d+)\..*res_blocks\.", name))}
    stages = sorted(numbers)
    head = (
        "detection_head.proj"
        if "detection_head.proj.weight" in names
        else f"blocks.{6 if is_dual else max(numbers) + 1}.proj"
    )
    is_factorised = any(".conv_b.conv_t." in name for name in names)
    parts = {"reduce": ("conv_a", "norm_a"), "spatial": ("conv_b", "norm_b"), "expand": ("conv_c", "norm_c")}
    if is_factorised:
        parts |= {"temporal": ("conv_b.conv_t", "conv_b.norm"), "spatial": ("conv_b.conv_xy", "norm_b")}

    def naming(site: Site) -> tuple[str, str] | None:
        pathway = f"multipathway_blocks.{site.pathway}." if is_dual else ""
        if site.kind == "classifier":
            return head, ""
        if site.kind == "lateral" and is_dual:
            fusion = f"blocks.{site.stage}.multipathway_fusion"
            return f"{fusion}.conv_fast_to_slow", f"{fusion}.norm"
        if site.pathway and not is_dual or site.kind in ("nonlocal", "lateral"):
            return None
        if site.kind == "stem":
            return f"blocks.0.{pathway}conv", f"blocks.0.{pathway}norm"
        if site.stage >= len(stages):
            return None
        block = f"blocks.{stages[site.stage]}.{pathway}res_blocks.{site.block}"
        if site.part == "shortcut":
            return f"{block}.branch1_conv", f"{block}.branch1_norm"
        if site.part not in parts:
            return None
        convolution, norm = parts[site.part]
        return f"{block}.branch2.{convolution}", f"{block}.branch2.{norm}"

    has_pool = not is_dual and len(stages) > 1 and stages[1] - stages[0] > 1
    return ResNetLayout("pytorchvideo", PYTORCHVIDEO_MARK, naming, has_res2_pool=has_pool)


def _slowfast_naming(site: Site) -> tuple[str, str] | None:
    """Names of the SlowFast repository, whose stages are s1 (stem) to s5."""
    if site.kind == "classifier":
        return "head.projection", ""
    if site.kind == "lateral":
        return f"s{site.stage + 1}_fuse.conv_f2s", f"s{site.stage + 1}_fuse.bn"
    if site.kind == "stem":
        return f"s1.pathway{site.pathway}_stem.conv", f"s1.pathway{site.pathway}_stem.bn"
    if site.kind == "nonlocal":
        block = f"s{site.stage + 2}.pathway{site.pathway}_nonlocal{site.block}"
        official = {"query": "theta", "key": "phi", "value": "g", "output": "out"}[site.part]
        return f"{block}.conv_{official}", f"{block}.bn"
    block = f"s{site.stage + 2}.pathway{site.pathway}_res{site.block}"
    if site.part == "shortcut":
        return f"{block}.branch1", f"{block}.branch1_bn"
    letter = {"reduce": "a", "spatial": "b", "expand": "c"}.get(site.part)
    return None if letter is None else (f"{block}.branch2.{letter}", f"{block}.branch2.{letter}_bn")


def _caffe2_naming(site: Site) -> tuple[str, str] | None:
    """Names of the SlowFast authors' Caffe2 files; lateral names depend on the depth and are made in `read_caffe2`."""
    fast = "t_" if site.pathway else ""
    if site.kind == "classifier":
        return "pred", ""
    if site.kind == "stem":
        return f"{fast}conv1", f"{fast}res_conv1_bn"
    if site.kind == "lateral":
        return f"lateral{site.stage}", f"lateral{site.stage}_bn"
    if site.kind == "nonlocal":
        official = {"query": "theta", "key": "phi", "value": "g", "output": "out"}[site.part]
        block = f"nonlocal_conv{site.stage + 2}_{site.block}"
        return (f"{block}_{official}", f"{block}_bn") if not site.pathway else None
    branch = {"shortcut": "1", "reduce": "2a", "spatial": "2b", "expand": "2c"}.get(site.part)
    if branch is None:
        return None
    block = f"{fast}res{site.stage + 2}_{site.block}_branch{branch}"
    return block, f"{block}_bn"


def _torchvision_naming(site: Site) -> tuple[str, str] | None:
    """Names of torchvision's ResNet with bottlenecks."""
    if site.pathway or site.kind in ("lateral", "nonlocal"):
        return None
    if site.kind == "classifier":
        return "fc", ""
    if site.kind == "stem":
        return "conv1", "bn1"
    return _numbered_parts(site, f"layer{site.stage + 1}.{site.block}", "{0}.conv{1}", "{0}.bn{1}", (".0", ".1"))


def _mmaction_naming(site: Site) -> tuple[str, str] | None:
    """Names of mmaction2; the pathways of SlowFast have names, a single one has none."""
    if site.kind == "classifier":
        return "cls_head.fc_cls", ""
    if site.kind == "lateral":
        lateral = f"backbone.slow_path.{'conv1' if site.stage == 0 else f'layer{site.stage}'}_lateral"
        return f"{lateral}.conv", f"{lateral}.bn"
    if site.kind == "nonlocal":
        return None
    pathway = f"backbone.{'fast' if site.pathway else 'slow'}_path."
    if site.kind == "stem":
        return f"{pathway}conv1.conv", f"{pathway}conv1.bn"
    block = f"{pathway}layer{site.stage + 1}.{site.block}"
    return _numbered_parts(site, block, "{0}.conv{1}.conv", "{0}.conv{1}.bn", (".conv", ".bn"))


def _mmaction_single_naming(site: Site) -> tuple[str, str] | None:
    if site.pathway or site.kind == "lateral":
        return None
    names = _mmaction_naming(site)
    return names and tuple(name.replace("backbone.slow_path.", "backbone.") for name in names)


def _numbered_parts(
    site: Site, block: str, convolution: str, norm: str, shortcut: tuple[str, str]
) -> tuple[str, str] | None:
    if site.part == "shortcut":
        return f"{block}.downsample{shortcut[0]}", f"{block}.downsample{shortcut[1]}"
    number = {"reduce": 1, "spatial": 2, "expand": 3}.get(site.part)
    return None if number is None else (convolution.format(block, number), norm.format(block, number))


PYTORCHVIDEO_MARK = r"blocks\.0\."
CAFFE2_NORM_LEAVES = ("_s", "_b", "_rm", "_riv")


def layouts() -> tuple[ResNetLayout, ...]:
    """Give all layouts; pytorchvideo's names are those of a network, see `rename_weights`."""
    return (
        ResNetLayout("pytorchvideo", PYTORCHVIDEO_MARK, lambda site: None),
        ResNetLayout("SlowFast", r"s1\.pathway0_stem\.", _slowfast_naming),
        ResNetLayout("SlowFast (Caffe2)", r"conv1_w$", _caffe2_naming, ("_w", "_b"), CAFFE2_NORM_LEAVES),
        ResNetLayout("mmaction2", r"backbone\.slow_path\.", _mmaction_naming),
        ResNetLayout("mmaction2", r"backbone\.conv1\.conv\.", _mmaction_single_naming),
        ResNetLayout("torchvision", r"layer1\.0\.conv3\.", _torchvision_naming),
    )
