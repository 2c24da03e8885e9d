"""The sections `model:` and `processor:`, by which a recipe reaches every field without a copy of it."""

import pytest

from hf_vidmodels import AsmLocConfig, MalConfig, SttsConfig
from hf_vidmodels.configuration.configuration_backbones import MvitConfig, VideoSwinConfig
from hf_vidmodels.configuration.configuration_vit import VisionTransformerConfig
from hf_vidmodels.training.argument_parser import parse_arguments, parse_command_line
from hf_vidmodels.training.recipe_files import read_recipe
from hf_vidmodels.training.recipes.asm_loc_arguments import AsmLocArguments
from hf_vidmodels.training.recipes.recipe_mal import MalArguments
from hf_vidmodels.training.recipes.stts_arguments import SttsArguments
from hf_vidmodels.training.run_files import open_output_dir
from hf_vidmodels.training.sections import descriptions, model_fields


def write(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return str(path)


def test_any_field_of_the_model_and_of_its_network_is_reached_from_file_and_command_line(tmp_path):
    recipe = write(
        tmp_path,
        """
        method: mal
        model:
          preset: mal-vit-deit-tiny
          crf_zeta: 0.3
          frozen_stages: [0, 1]
          encoder: {num_hidden_layers: 3, hidden_act: relu}
        """,
    )
    words = "--model.crf_zeta 0.4 --model.encoder.num_hidden_layers 2 --model.mask-thresholds 0.1 0.2 0.3"
    args = parse_arguments(MalArguments, ["--recipe", recipe, *words.split(), "--model.encoder_config.qkv_bias=false"])
    config = args.model_config()
    assert (config.crf_zeta, config.frozen_stages, config.mask_thresholds) == (0.4, [0, 1], [0.1, 0.2, 0.3])
    encoder = config.encoder_config
    assert (encoder.num_hidden_layers, encoder.hidden_act, encoder.qkv_bias) == (2, "relu", False)
    assert encoder.hidden_size == 192  # of the preset


def test_what_is_not_given_is_that_of_the_preset_and_the_preset_that_of_the_method():
    assert parse_arguments(MalArguments, []).model == {"preset": "mal-vit-mae-base"}
    args = parse_arguments(SttsArguments, ["--model.preset", "tiny-video-swin", "--model.sigma", "1"])
    config = args.model_config(["a", "b", "c"])
    assert (
        config.to_dict()
        == SttsConfig.from_preset(
            "tiny-video-swin", sigma=1, id2label=config.id2label, label2id=config.label2id
        ).to_dict()
    )
    assert config.id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--model.crf_zta 1", r"does not fit: model has no field 'crf_zta'; did you mean 'crf_zeta'\?"),
        (
            "--model.encoder.hiden_size 1",
            r"model.encoder_config has no field 'hiden_size'; did you mean 'hidden_size'\?",
        ),
        ("--model.crf_zeta big", "model.crf_zeta takes a number, but it is 'big'"),
        ("--model.crf_num_iterations 1.5", "model.crf_num_iterations takes a whole number"),
        ("--model.use_teacher 3", "model.use_teacher takes true or false"),
        ("--model.encoder.hidden_size true", "model.encoder_config.hidden_size takes a whole number"),
        ("--model.preset mal", "model.preset must be one of mal-vit-mae-base, .*, but it is 'mal'"),
        ("--model.num_labels 3", "model has no field 'num_labels'"),
        ("--model mal", "model takes a mapping of fields"),
        ("--model.encoder mal", "model.encoder_config takes fields, but it is 'mal'"),
        ("--processor.pad_mode zero", "The method has no section processor, but processor.pad_mode is given"),
    ],
)
def test_names_and_types_are_checked_against_the_configuration(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_arguments(MalArguments, words.split())


def test_a_field_of_the_backbone_that_was_not_chosen_is_refused():
    args = parse_arguments(
        SttsArguments, ["--model.preset", "tiny-mvit", "--model.backbone.window_size", "4", "4", "4"]
    )
    with pytest.raises(
        ValueError, match="model.backbone_config.window_size is no field of MvitConfig, which is chosen"
    ):
        args.model_config(["a", "b"])


def test_a_field_of_the_processor_is_reached_and_checked():
    words = "--processor.size.shortest_edge 64 --processor.evaluation_views 1 --processor.image_mean 0.5 0.5 0.5"
    args = parse_arguments(SttsArguments, words.split())
    assert args.processor == {"size": {"shortest_edge": 64}, "evaluation_views": 1, "image_mean": [0.5, 0.5, 0.5]}
    with pytest.raises(ValueError, match=r"processor has no field 'num_view'; did you mean 'num_views'\?"):
        parse_arguments(SttsArguments, ["--processor.num_view", "1"])


def test_the_flat_fields_of_earlier_recipe_files_still_mean_the_model_and_null_the_presets(tmp_path):
    recipe = write(tmp_path, "method: mal\npreset: mal-vit-deit-tiny\nhidden_size: 96\ncrf_zeta: null\n")
    args = parse_arguments(MalArguments, ["--recipe", recipe, "--crf_low", "0.2"])
    assert args.model == {"preset": "mal-vit-deit-tiny", "encoder_config": {"hidden_size": 96}, "crf_low": 0.2}
    assert args.model_config().crf_zeta == MalConfig.crf_zeta
    recipe = write(tmp_path, "method: mal\ncrf_low: 0.2\nmodel: {crf_low: 0.3}\n")
    with pytest.raises(ValueError, match="has crf_low twice, alone and in the section model: leave the former out"):
        parse_arguments(MalArguments, ["--recipe", recipe])


def test_the_recipe_of_a_run_holds_the_sections_and_can_be_given_again(tmp_path):
    words = "--recipe stts/embedded --model.backbone.drop_path_rate 0.1 --processor.size.shortest_edge 48"
    _, args = parse_command_line([*words.split(), "--output_dir", str(tmp_path / "run")])
    open_output_dir(args, "stts")
    _, given = read_recipe(tmp_path / "run" / "recipe.yaml")
    assert given["model"]["backbone_config"] == {"drop_path_rate": 0.1} and given["model"]["preset"] == "embedded-mvit"
    _, again = parse_command_line(["--recipe", str(tmp_path / "run" / "recipe.yaml"), "--output_dir", args.output_dir])
    assert (again.model, again.processor) == (args.model, args.processor)
    assert {"model", "processor"} <= args.result_fields().keys()


def test_the_help_of_a_recipe_lists_every_field_of_its_model_with_the_words_of_the_configuration(capsys):
    with pytest.raises(SystemExit):
        parse_command_line(["--recipe", "mal/embedded", "--help", "--model.crf_low", "0.2"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--model.crf_zeta X Width of its colour likeness. (default: 0.3)" in shown
    assert "--model.encoder_config.hidden_size N Width D of the tokens;" in shown and "(default: 96)" in shown
    assert "Settings to start from, one of mal-vit-mae-base," in shown


@pytest.mark.parametrize(
    "documented", [AsmLocConfig, MalConfig, SttsConfig, MvitConfig, VideoSwinConfig, VisionTransformerConfig]
)
def test_every_field_that_a_recipe_can_set_is_described(documented):
    described = descriptions(documented)
    for field in model_fields(documented(), None):
        if field.path.count(".") == 1 and not field.path.endswith(".preset"):
            assert described[field.path.partition(".")[2]].endswith("."), field.path


def test_a_cascade_counts_its_networks_by_section_and_preset():
    assert parse_arguments(AsmLocArguments, []).num_steps == 4
    assert parse_arguments(AsmLocArguments, ["--model.preset", "asm-loc-activitynet"]).num_steps == 2
    assert parse_arguments(AsmLocArguments, ["--model.num_refinement_steps", "0"]).num_steps == 1
