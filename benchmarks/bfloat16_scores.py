"""By how much scores differ between bfloat16 and float32, for tiny networks with random weights.

    python benchmarks/bfloat16_scores.py [--rounds 3]

For each network: the largest difference of its probabilities between answers in bfloat16 (as `--mixed_precision bf16`
of predict and evaluate computes them) and in float32, and the time of both; only large networks gain time. Random
weights give probabilities that are nearly equal, so that trained networks differ by more. Of STEP they are those of
the first step, which sees the same boxes in both. L2-CAF has no such option (docs/l2_caf.md says why).
"""

import copy
import time
from collections.abc import Callable

import torch
from timed_forms import ratio, speed_parser
from transformers import PreTrainedConfig, PreTrainedModel

import hf_vidmodels
from hf_vidmodels.command_line import run
from hf_vidmodels.evaluation.answer_forms import prepare_to_answer
from hf_vidmodels.tasks import BFLOAT16

# Of networks that give the class of a clip or picture.
CLASSIFIERS = {
    "SttsForVideoClassification": ("SttsConfig", ("tiny-mvit", "tiny-video-swin")),
    "VideoResNetForVideoClassification": ("VideoResNetConfig", ("tiny-slow", "tiny-slowfast", "tiny-r2plus1d")),
    "GtaForVideoClassification": ("GtaConfig", ("tiny-gta",)),
    "HierarchicalMotionForVideoClassification": ("HierarchicalMotionConfig", ("tiny-motion",)),
    "CollaborativeMemoryForVideoClassification": ("CollaborativeMemoryConfig", ("tiny-memory",)),
    "SemiformerForImageClassification": ("SemiformerConfig", ("tiny-semiformer",)),
    "CrossXForImageClassification": ("CrossXConfig", ("tiny-cross-x",)),
}
CLIPS_OF_A_VIDEO = 3
STEPS_OF_STATISTICS = 20


def make_inputs(config: PreTrainedConfig) -> torch.Tensor:
    """Make what a classifier takes: pictures (2, 3, H, W), clips (2, T, 3, H, W) or videos (2, N, T, 3, H, W)."""
    side = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
    shape = [2, 3, side, side]
    if hasattr(config, "num_frames"):
        shape.insert(1, config.num_frames)
    if config.model_type == "collaborative_memory":
        shape.insert(1, CLIPS_OF_A_VIDEO)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def networks() -> dict[str, tuple[PreTrainedModel, Callable[[PreTrainedModel], torch.Tensor]]]:
    """Give each network by name, with what asks it for probabilities."""
    found = {}
    for model_name, (config_name, presets) in CLASSIFIERS.items():
        for preset in presets:
            config = getattr(hf_vidmodels, config_name).from_preset(preset)
            inputs = make_inputs(config)
            found[preset] = (
                getattr(hf_vidmodels, model_name)(config),
                lambda model, inputs=inputs: model(inputs).logits.float().softmax(-1),
            )
    features = torch.rand(2, 96, 64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[[4, 20], [50, 70]]] * 2)
    config = hf_vidmodels.AsmLocConfig(hidden_size=64, num_labels=5, num_refinement_steps=1)
    found["asm_loc"] = (
        hf_vidmodels.AsmLocForTemporalActionLocalization(config),
        lambda model: model(features, proposal_boxes=boxes, step=1).foreground_cas,
    )
    config = hf_vidmodels.StepConfig.from_preset("step-tiny", freeze_batch_norm_stats=False)
    clips = torch.rand(
        (1, config.num_frames, config.backbone_config.num_channels, *config.frame_size),
        generator=torch.Generator().manual_seed(0),
    )
    network = hf_vidmodels.StepForActionDetection(config)
    with torch.no_grad():
        # Under the statistics that norms begin with, random weights answer the same whatever they see.
        for _ in range(STEPS_OF_STATISTICS):
            network.train().features(clips)
    found["step-tiny"] = (
        network,
        lambda model: model(clips.to(model.dtype)).step_logits[0].float().sigmoid(),
    )
    config = hf_vidmodels.MalConfig(
        encoder_config={"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 2}
    )
    crops = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    found["mal"] = (
        hf_vidmodels.MalForMaskLabeling(config, inference_only=True),
        lambda model: model.mask_probabilities(crops, [[0, 0, 90, 90]] * 2),
    )
    return found


def main() -> None:
    """Measure and print."""
    arguments = speed_parser(__doc__, rounds=3).parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"{'network':20}{'difference':>12}{'float32':>11}{'bfloat16':>11}{'ratio':>8}")
    for name, (model, probabilities) in networks().items():
        model.eval()
        rough = copy.deepcopy(model)
        prepare_to_answer(rough, BFLOAT16)
        with torch.inference_mode():
            difference = float((probabilities(rough) - probabilities(model)).abs().max())
            row = ratio(
                lambda ask=probabilities, network=rough: ask(network),
                lambda ask=probabilities, network=model: ask(network),
                arguments.rounds,
                time.process_time,
            )
        fast, plain = 1000 * row["fast"], 1000 * row["plain"]
        print(f"{name:20}{difference:12.1e}{plain:8.0f} ms{fast:8.0f} ms{row['ratio']:8.2f}", flush=True)


if __name__ == "__main__":
    run(main)
