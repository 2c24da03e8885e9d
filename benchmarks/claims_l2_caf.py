"""Does L2-CAF box objects better than CAM and Grad-CAM? On embedded/objects, with a small classifier trained there.

For every seed a ResNet of four stages is trained from scratch on class labels only (on 2000 training pictures of the
corpus's generator: its own 300 do not suffice to learn the classes), then every method makes one map for each test
picture and its true class, and the maps are scored by MaxBoxAccV2 and MaxBoxAcc (localisation evaluator: best
threshold on the test split itself, as there). All methods see the same feature map.
    python benchmarks/claims_l2_caf.py                                   # 3 seeds
    python benchmarks/claims_l2_caf.py --seeds 0 --epochs 5 --output claims.json
Grad-CAM comes from the package grad-cam (pip install "hf_vidmodels[examples]"), CAM is the class's row of the linear
layer over the feature map. A bump in the middle of the picture shows what a map that knows nothing reaches.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.utils import logging

from hf_vidmodels import L2CafForObjectLocalization, L2CafImageProcessor
from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.data.embedded.embedded_corpora import load_embedded_corpus
from hf_vidmodels.data.embedded.embedded_pictures import OBJECTS
from hf_vidmodels.metrics.object_localization import evaluation_maps, max_box_accuracy, scale_boxes

CORPUS = "embedded/objects"
LAYER = "resnet.encoder.stages.3"
OBJECTIVES = ("class_oblivious", "class_specific", "centered")


def main() -> None:
    """Read the command line, train and score every seed, print the table."""
    arguments = parse_arguments()
    logging.disable_progress_bar()
    torch.set_num_threads(arguments.threads)
    corpus = load_objects(arguments.train_pictures)
    runs = [evaluate_seed(corpus, seed, arguments.epochs) for seed in arguments.seeds]
    print(f"\n{CORPUS}, {len(runs)} seeds, {arguments.epochs} epochs: mean and (least .. greatest) in percent")
    accuracies = [run["test_accuracy"] * 100 for run in runs]
    print(f"classification accuracy {np.mean(accuracies):.1f} ({min(accuracies):.1f} .. {max(accuracies):.1f})")
    print(f"{'method':26} {'MaxBoxAccV2':24} {'MaxBoxAcc':24}")
    for method in runs[0]["methods"]:
        cells = [spread([run["methods"][method][name] for run in runs]) for name in ("MaxBoxAccV2", "MaxBoxAcc")]
        print(f"{method:26} {cells[0]:24} {cells[1]:24}")
    if arguments.output:
        write_json(arguments.output, {"corpus": CORPUS, "epochs": arguments.epochs, "runs": runs})


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the classifiers")
    parser.add_argument("--epochs", type=int, default=16, help="epochs of their training")
    parser.add_argument("--train_pictures", type=int, default=2000, help="pictures of the training split")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    return parser.parse_args()


def load_objects(num_pictures: int) -> Any:
    """Load embedded/objects with so many pictures to train on; its own 300 are too few to learn the classes from."""
    splits = tuple((name, num_pictures if name == "train" else count) for name, count in OBJECTS.splits)
    return load_embedded_corpus("objects", parameters=replace(OBJECTS, splits=splits))


def evaluate_seed(corpus: Any, seed: int, epochs: int) -> dict[str, Any]:
    """Train one classifier and score the maps of every method on the test split."""
    started = time.perf_counter()
    size = corpus["test"][0]["image"].height
    num_classes = corpus["test"].features["label"].num_classes
    processor = L2CafImageProcessor(size={"height": size, "width": size}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    data = {split: prepare(corpus[split], processor) for split in ("train", "test")}
    network = train(data["train"], num_classes, seed, epochs)
    pixel_values, labels = data["test"]
    with torch.no_grad():
        accuracy = float((network(pixel_values).logits.argmax(-1) == labels).float().mean())
    model = L2CafForObjectLocalization.from_network(network, LAYER, image_size=size)
    maps = method_maps(model, pixel_values, labels)
    boxes = {
        str(index): scale_boxes(np.array([row["bbox"]]), row["image"].size) for index, row in enumerate(corpus["test"])
    }
    methods = {name: score(raw_maps, boxes) for name, raw_maps in maps.items()}
    methods["bump in the middle"] = score(np.pad(np.ones((len(labels), 1, 1)), ((0, 0), (1, 1), (1, 1))), boxes)
    seconds = time.perf_counter() - started
    shown = ", ".join(f"{name} {values['MaxBoxAccV2']:.1f}" for name, values in methods.items())
    print(f"seed {seed}: accuracy {accuracy:.3f}, {seconds:.0f} s, MaxBoxAccV2: {shown}", flush=True)
    return {"seed": seed, "test_accuracy": accuracy, "seconds": seconds, "methods": methods}


def prepare(split: Any, processor: L2CafImageProcessor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give all pixel values and labels of a split."""
    return processor(list(split["image"]))["pixel_values"], torch.tensor(split["label"])


def train(
    data: tuple[torch.Tensor, torch.Tensor], num_classes: int, seed: int, epochs: int
) -> ResNetForImageClassification:
    """Train a small ResNet on class labels, with random shifts and brightness (digits must not be mirrored)."""
    torch.manual_seed(seed)
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], layer_type="basic",
        num_labels=num_classes, downsample_in_first_stage=False,
    )  # fmt: skip
    network = ResNetForImageClassification(config)
    # A map of 12 x 12 cells for pictures of 96 pixels: the last two stages keep the size of the second.
    for stage in network.resnet.encoder.stages[2:]:
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
    pixel_values, labels = data
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    batch_size = 32
    steps = epochs * -(-len(labels) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for indices in torch.randperm(len(labels)).split(batch_size):
            shifted = torch.roll(pixel_values[indices], tuple(torch.randint(-24, 25, (2,)).tolist()), (2, 3))
            varied = shifted * (0.8 + 0.4 * torch.rand(len(indices), 1, 1, 1))
            loss = nn.functional.cross_entropy(network(varied).logits, labels[indices], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def method_maps(
    model: L2CafForObjectLocalization, pixel_values: torch.Tensor, labels: torch.Tensor
) -> dict[str, np.ndarray]:
    """Give the (N, h, w) raw maps of every method for the true class of each picture."""
    maps = {}
    for objective in OBJECTIVES:
        classes = None if objective == "class_oblivious" else labels
        explanation = model.explain(pixel_values, classes, objective=objective)
        maps[f"L2-CAF {objective}"] = explanation.attention[:, 0].numpy()
    maps["CAM"] = class_activation_maps(model.network, pixel_values, labels)
    maps["Grad-CAM (grad-cam)"] = grad_cam_maps(model.network, pixel_values, labels)
    return maps


def class_activation_maps(network: nn.Module, pixel_values: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Weight the feature map by the class's row of the linear layer."""
    with torch.no_grad():
        features = network.resnet(pixel_values).last_hidden_state
        weight = network.classifier[-1].weight[labels]
        return torch.einsum("nc,nchw->nhw", weight, features).numpy()


def grad_cam_maps(network: nn.Module, pixel_values: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Make the maps of the package grad-cam, at the picture's size as it gives them.

    Raises:
        FileNotFoundError: the package is missing.
    """
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise FileNotFoundError('Grad-CAM needs the package grad-cam; pip install "hf_vidmodels[examples]"') from error

    class Logits(nn.Module):
        """The network with plain logits, as the package wants it."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.network(inputs).logits

    wrapped = Logits()
    with GradCAM(model=wrapped, target_layers=[network.get_submodule(LAYER)]) as cam:
        return np.concatenate(
            [
                cam(input_tensor=inputs, targets=[ClassifierOutputTarget(int(label)) for label in classes])
                for inputs, classes in zip(pixel_values.split(25), labels.split(25), strict=True)
            ]
        )


def score(raw_maps: np.ndarray, boxes: dict[str, np.ndarray]) -> dict[str, float]:
    """Give MaxBoxAccV2 and MaxBoxAcc of raw maps, in percent."""
    maps = evaluation_maps({str(index): raw_map for index, raw_map in enumerate(raw_maps)})
    largest = max_box_accuracy(maps, boxes, interval=0.01, iou_thresholds=(0.5,), multi_contour=False)
    return {"MaxBoxAccV2": max_box_accuracy(maps, boxes, interval=0.01).accuracy, "MaxBoxAcc": largest.accuracy}


def spread(values: list[float]) -> str:
    """Write mean, least and greatest value."""
    return f"{np.mean(values):.1f} ({min(values):.1f} .. {max(values):.1f})"


if __name__ == "__main__":
    run(main)
