"""What recipes of residual video networks add: parts that decay, batch norms measured anew, start from a plain
network.
"""

import pytest
import torch
from accelerate import Accelerator

from hf_vidmodels import GtaConfig, GtaForVideoClassification, VideoResNetConfig, VideoResNetForVideoClassification
from hf_vidmodels.training.arguments import TrainingArguments
from hf_vidmodels.training.initial_weights import take_weights
from hf_vidmodels.training.recipes.recipe_gta import GtaArguments, GtaRecipe
from hf_vidmodels.training.recipes.residual_video import ResidualVideoRecipe, measure_batch_norms
from hf_vidmodels.training.schedules import build_scheduler
from stts_corpus import make_corpus


def gta():
    torch.manual_seed(0)
    return GtaForVideoClassification(GtaConfig.from_preset("tiny-gta", num_labels=5))


def batches(count):
    generator = torch.Generator().manual_seed(1)
    return [{"pixel_values": torch.randn(3, 4, 3, 32, 32, generator=generator)} for _ in range(count)]


def test_kernels_and_matrices_decay_but_norms_biases_and_temporal_matrices_do_not():
    model = gta()
    weights, norms = ResidualVideoRecipe.parameter_groups(None, model, 0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(names[id(parameter)].endswith("weight") for parameter in weights["params"])
    kept = {names[id(parameter)] for parameter in norms["params"]}
    assert "classifier.bias" in kept
    assert "attentions.2_0.pixel.attention" in kept
    assert not any(name.endswith("convolution.weight") for name in kept)
    assert norms["weight_decay"] == 0.0
    assert len(weights["params"]) + len(norms["params"]) == len(list(model.parameters()))


def test_measured_statistics_are_the_means_over_batches_and_nothing_else_changes():
    model = gta().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    norm = model.backbone.pathways[0].stem.normalization
    seen = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    measure_batch_norms(model, batches(5), 3, torch.device("cpu"))
    assert len(seen) == 3
    torch.testing.assert_close(norm.running_mean, torch.stack([maps.mean((0, 2, 3, 4)) for maps in seen]).mean(0))
    assert not model.training
    assert norm.momentum == model.config.backbone_config.batch_norm_momentum
    for name, value in model.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(value, before[name])


def test_a_method_starts_from_a_plain_network(tmp_path):
    backbone = GtaConfig.from_preset("tiny-gta").backbone_config.to_dict() | {"num_labels": 7}
    torch.manual_seed(5)
    plain = VideoResNetForVideoClassification(VideoResNetConfig.from_dict(backbone))
    plain.save_pretrained(tmp_path)
    model = gta()
    taken = take_weights(model, str(tmp_path), ("attentions",), ResidualVideoRecipe.backbone_classes)
    assert torch.equal(
        model.backbone.pathways[0].stem.convolution.weight, plain.backbone.pathways[0].stem.convolution.weight
    )
    assert {name.split(".")[0] for name in taken.new} == {"attentions", "classifier"}
    with pytest.raises(ValueError, match="is a video_resnet model, but a gta_video model is trained"):
        take_weights(gta(), str(tmp_path), ("attentions",))


def test_joint_attention_starts_from_the_nonlocal_blocks_of_a_plain_network(tmp_path):
    torch.manual_seed(5)
    plain = VideoResNetForVideoClassification(VideoResNetConfig.from_preset("tiny-i3d-nonlocal"))
    plain.save_pretrained(tmp_path)
    corpus = make_corpus(tmp_path / "corpus", train=2, test=1)
    network = {"arch": "i3d", "embedding_size": 8, "depths": [1, 1, 1, 1], "image_size": 32, "num_frames": 8}
    settings = {"preset": "tiny-gta", "backbone_config": network, "gta_blocks": [[], [0], [0], []]}

    def model(attention_type):
        recipe = GtaRecipe(
            GtaArguments(
                dataset_name=str(corpus),
                model_name_or_path=str(tmp_path),
                channels_last=True,
                model=settings | {"attention_type": attention_type},
            )
        )
        recipe.accelerator = Accelerator()
        recipe.prepare_data()
        return recipe.build_model()

    joint = model("joint")
    theirs = plain.backbone.pathways[0].nonlocal_blocks
    for name, block in joint.attentions.items():
        assert torch.equal(block.query.weight, theirs[name].query.weight)
        assert torch.equal(block.normalization.weight, theirs[name].normalization.weight)
    assert len(joint.attentions) == 2
    assert joint.attentions["2_0"].query.weight.is_contiguous(memory_format=torch.channels_last_3d)
    with pytest.raises(ValueError, match="nonlocal_blocks.* are missing, too many or of another shape"):
        model("gta")


def test_a_step_schedule_falls_where_it_is_told():
    args = TrainingArguments(
        learning_rate=1.0, lr_scheduler_type="steps", lr_decay_at=[0.5, 0.75], lr_decay_factor=0.1, warmup_steps=3
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_scheduler(optimizer, args, total_steps=20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[9:11] == pytest.approx([1.0, 0.1])
    assert rates[14:16] == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"lr_decay_at": [0.5]}, "lr_decay_at and lr_scheduler_type steps need each other"),
        ({"lr_scheduler_type": "steps", "lr_decay_at": [0.8, 0.4]}, "lr_decay_at must be ascending shares"),
        (
            {"lr_scheduler_type": "steps", "lr_decay_at": [0.5], "lr_decay_factor": 1.0},
            "lr_decay_factor must be between",
        ),
    ],
)
def test_step_schedules_that_contradict_themselves_are_errors(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainingArguments(**fields)
