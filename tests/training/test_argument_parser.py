from dataclasses import dataclass, fields

import pytest
from toy_recipe import ToyRecipe

from hf_vidmodels.training import recipe_files
from hf_vidmodels.training.argument_parser import parse_arguments, parse_command_line
from hf_vidmodels.training.arguments import TrainingArguments, argument


@dataclass
class MethodArguments(TrainingArguments):
    margin: float = argument(0.5, "Margin of the loss.")
    layers: list[int] = argument([1, 2], "Layers that are used.")
    threshold: float | None = argument(None, "Threshold, or none for the preset's.")
    fast: bool = argument(True, "Take the short way.")


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """A folder of recipes in place of the package's."""
    monkeypatch.setattr(recipe_files, "RECIPES_FOLDER", tmp_path)

    def write(name, text):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def test_the_command_line_wins_over_the_recipe_and_that_over_the_defaults(recipes):
    recipes("m/corpus", "method: m\nlearning_rate: 1e-3\nseed: 7\nmargin: 1\nlayers: [3]\n")
    args = parse_arguments(MethodArguments, ["--recipe", "m/corpus", "--seed", "8", "--report_to", "tensorboard"])
    assert (args.learning_rate, args.seed, args.margin, args.layers) == (1e-3, 8, 1.0, [3])
    assert (args.weight_decay, args.report_to, args.recipe) == (0.0, ["tensorboard"], "m/corpus")


def test_a_recipe_may_be_a_file_anywhere(recipes, tmp_path):
    path = recipes("elsewhere/own", "method: m\nfast: false\n")
    assert parse_arguments(MethodArguments, ["--recipe", path]).fast is False


def test_switches_and_nones_and_equal_signs_are_understood(recipes):
    recipes("m/c", "method: m\nema_decay: 0.9\nthreshold: 0.2\n")
    words = [
        "--recipe=m/c",
        "--ema-decay",
        "none",
        "--threshold=none",
        "--no_fast",
        "--push_to_hub",
        "--hub_model_id=a/b",
    ]
    args = parse_arguments(MethodArguments, words)
    assert (args.ema_decay, args.threshold, args.fast, args.push_to_hub) == (None, None, False, True)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("learning_rat: 0.1", "unknown field 'learning_rat'; did you mean 'learning_rate'?"),
        ("zzz: 0.1", "unknown field 'zzz'."),
        ("seed: many", "seed: 'many', but seed takes a whole number"),
        ("seed: true", "seed takes a whole number"),
        ("seed: 1.5", "seed takes a whole number"),
        ("learning_rate: true", "learning_rate takes a number"),
        ("fast: 1", "fast takes true or false"),
        ("optim: lion", "optim takes one of adamw, adam, sgd"),
        ("layers: 3", r"layers takes a list, such as \[3\]"),
        ("layers: [a]", "layers takes a whole number"),
        ("run_name: 3", "run_name takes text"),
        ("seed: 1\nseed: 2", "the field 'seed' is given twice"),
        ("a: &a [1, 2]\nb: [*a, *a]", r"not valid YAML: \*a in line 3 repeats a value; write it out"),
        ("\n".join(f"field{number}: 1" for number in range(20_000)), "has 2000[01] fields, a recipe has at most 1000"),
        ("seed: " + "[" * 5000, "is not valid YAML"),
        ("- seed", "not valid YAML"),
        ("eval_epochs: 3", "eval_epochs 3 needs eval_strategy epoch"),
    ],
)
def test_a_recipe_that_does_not_fit_is_an_error_with_the_way_out(recipes, line, sentence):
    recipes("m/c", f"method: m\n{line}\n")
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        parse_arguments(MethodArguments, ["--recipe", "m/c"])


STAGES = "stages:\n- name: base\n  learning_rate: 1e-3\n  num_train_epochs: 3\n  save_epochs: 2\n- name: refiner\n"


def test_the_stages_of_a_recipe_are_checked_and_give_way_to_the_command_line(recipes):
    path = recipes("own", "method: toy_recipe:ToyRecipe\n" + STAGES)
    words = ["--recipe", path, "--num_train_epochs", "1", "--save_strategy", "steps", "--save_steps", "5"]
    found, args = parse_command_line(words)
    assert args.stages == [{"name": "base", "learning_rate": 1e-3}, {"name": "refiner"}]
    base, refiner = found(args).plan
    assert (base.args.learning_rate, base.args.num_train_epochs, base.args.save_steps) == (1e-3, 1, 5)
    assert (refiner.args.learning_rate, refiner.args.num_train_epochs) == (1e-4, 1)
    assert parse_command_line(["--recipe", path, "--stages", "none"])[1].stages is None


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("stages: base", r"stages takes a list, such as \[base\]"),
        ("stages: [base]", "stages takes mappings of fields to values"),
        ("stages:\n- learning_rate: 1", "has a stage without name"),
        (
            "stages:\n- name: base\n  learning_rat: 1",
            "stage base, has a field 'learning_rat' .* mean 'learning_rate'?",
        ),
        ("stages:\n- name: base\n  output_dir: x", "stage base, has a field 'output_dir' that no stage has"),
        ("stages:\n- name: base\n  learning_rate: big", "stage base, has learning_rate: 'big', but .* a number"),
        ("stages:\n- name: base\n  continues: 1", "stage base, has continues: 1, but it takes true or false"),
    ],
)
def test_a_stage_of_a_recipe_that_does_not_fit_is_an_error_when_it_is_read(recipes, lines, sentence):
    recipes("m/c", f"method: m\n{lines}\n")
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        parse_arguments(MethodArguments, ["--recipe", "m/c"])


@pytest.mark.parametrize(
    ("lines", "words", "expected"),
    [
        ("save_epochs: 20", "--save_strategy steps --save_steps 5", {"save_epochs": 1, "save_steps": 5}),
        ("save_epochs: 20", "--save_strategy no", {"save_epochs": 1}),
        ("save_strategy: steps\nsave_steps: 9", "--save_epochs 2", {"save_strategy": "epoch", "save_steps": 0}),
        ("eval_strategy: epoch\neval_epochs: 2", "--eval_strategy end", {"eval_epochs": 1}),
        ("eval_strategy: epoch\neval_epochs: 2", "--eval_strategy steps --eval_steps 4", {"eval_epochs": 1}),
        ("warmup_ratio: 0.1\nlr_scheduler_type: cosine", "--warmup_steps 5", {"warmup_ratio": 0.0}),
        ("warmup_ratio: 0.1\nlr_scheduler_type: cosine", "--lr_scheduler_type constant", {"warmup_ratio": 0.0}),
    ],
)
def test_a_field_of_the_recipe_that_contradicts_the_command_line_gives_way(recipes, lines, words, expected):
    recipes("m/c", f"method: m\n{lines}\n")
    args = parse_arguments(MethodArguments, ["--recipe", "m/c", *words.split()])
    assert {name: getattr(args, name) for name in expected} == expected


def test_a_contradiction_inside_the_command_line_or_the_recipe_is_an_error(recipes):
    recipes("m/c", "method: m\nsave_epochs: 20\n")
    with pytest.raises(ValueError, match="save_epochs 3 needs save_strategy epoch"):
        parse_arguments(MethodArguments, ["--recipe", "m/c", "--save_strategy", "no", "--save_epochs", "3"])
    with pytest.raises(ValueError, match="save_steps and save_strategy steps need each other"):
        parse_arguments(MethodArguments, ["--recipe", "m/c", "--save_strategy", "steps"])


def test_yaml_words_for_strategies_are_taken_as_they_are_meant(recipes):
    recipes("m/c", "method: m\nsave_strategy: no\nthreshold:\n")
    args = parse_arguments(MethodArguments, ["--recipe", "m/c"])
    assert (args.save_strategy, args.threshold) == ("no", None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--learning_rat", "0.1"], r"Unknown field --learning_rat; did you mean 'learning_rate'\?"),
        (["--margn=1"], r"Unknown field --margn; did you mean 'margin'\?"),
        (["--seed", "many"], "The command line has seed: 'many', but seed takes a whole number"),
        (["--seed", "1.5"], "seed takes a whole number"),
        (["--seed", "true"], "seed takes a whole number"),
        (["--fast", "1"], "fast takes true or false"),
        (["--layers", "1", "a"], "layers takes a whole number"),
        (["--optim", "lion"], "optim takes one of adamw, adam, sgd"),
        (["--seed"], "seed takes a value"),
        (["--seed", "1", "2"], "seed takes one value"),
        (["0.1"], "1 word.s. without a field"),
    ],
)
def test_a_command_line_that_does_not_fit_is_an_error_with_the_way_out(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_arguments(MethodArguments, words)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("1e-3", "learning_rate", 1e-3),
        ("1", "learning_rate", 1.0),
        ("3", "run_name", "3"),
        ("[4, 5]", "layers", [4, 5]),
        ("4 5", "layers", [4, 5]),
        ("4", "layers", [4]),
        ("-1", "max_steps", -1),
        ("none", "ema_decay", None),
        ("no", "save_strategy", "no"),
        ("false", "fast", False),
        ("wandb", "report_to", ["wandb"]),
    ],
)
def test_the_command_line_and_a_recipe_file_mean_the_same_by_the_same_text(recipes, text, field, value):
    words = parse_arguments(MethodArguments, [f"--{field}", *text.split()] if text[0] != "[" else [f"--{field}", text])
    as_yaml = f"[{text.replace(' ', ', ')}]" if isinstance(value, list) and text[0] != "[" else text
    recipes("m/c", f"method: m\n{field}: {as_yaml if value != '3' else repr(text)}\n")
    file = parse_arguments(MethodArguments, ["--recipe", "m/c"])
    assert getattr(words, field) == getattr(file, field) == value
    assert type(getattr(words, field)) is type(value)


def test_what_is_given_twice_counts_the_last_time_and_the_corpus_has_two_spellings():
    args = parse_arguments(MethodArguments, ["--seed", "1", "--corpus", "embedded/clips", "--seed=2"])
    assert (args.seed, args.dataset_name) == (2, "embedded/clips")


def test_values_of_unknown_fields_are_not_repeated_for_they_may_be_secret():
    with pytest.raises(ValueError) as caught:
        parse_arguments(MethodArguments, ["--hub_token", "hf_secret", "--token=hf_secret"])
    assert "secret" not in str(caught.value)


def test_the_recipes_method_chooses_the_recipe_class(recipes):
    path = recipes("own", "method: toy_recipe:ToyRecipe\nnoise: 0\n")
    found, args = parse_command_line(["--recipe", path, "--output_dir", "x"])
    assert found is ToyRecipe and args.noise == 0.0


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("asm_lok", r"Unknown method 'asm_lok' in the recipe \(did you mean 'asm_loc'\?\)"),
        ("nowhere_at_all:Recipe", "the module 'nowhere_at_all', which is not importable"),
        ("toy_recipe:Absent", "names a class that toy_recipe does not have"),
        ("toy_recipe:ToyModel", "not a subclass of"),
    ],
)
def test_a_method_that_does_not_exist_is_an_error(recipes, method, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_command_line(["--recipe", recipes("own", f"method: {method}\n")])


def test_without_method_or_recipe_the_error_says_what_is_missing(recipes):
    recipes("m/c", "seed: 1\n")
    with pytest.raises(ValueError, match="'method: <name>'"):
        parse_command_line(["--recipe", "m/c"])
    with pytest.raises(ValueError, match="--recipe NAME, one of m/c"):
        parse_command_line(["--seed", "1"])
    with pytest.raises(FileNotFoundError, match=r"no recipe 'm/d' \(did you mean 'm/c'\? available: m/c"):
        parse_command_line(["--recipe", "m/d"])


def test_the_help_explains_every_field_in_groups_and_lists_the_recipes(recipes, capsys):
    recipes("m/c", "method: m\n")
    with pytest.raises(SystemExit) as ended:
        parse_command_line(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "recipes: m/c" in shown
    for group in ("run:", "data:", "optimisation:", "checkpoints:", "sharing on the Hub:"):
        assert f"\n{group}\n" in shown
    for item in fields(TrainingArguments):
        assert f"  --{item.name}" in shown


def test_the_help_of_a_recipe_shows_its_methods_fields_and_its_settings(recipes, capsys):
    path = recipes(
        "own", "# The toy.\n# Time: seconds.\nmethod: toy_recipe:ToyRecipe\nnoise: 0.125\nlearning_rate: 0.75\n"
    )
    with pytest.raises(SystemExit):
        parse_command_line(["--recipe", path, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "The toy. Time: seconds." in shown
    assert "Standard deviation of the augmentation. (default: 0.125)" in shown
    assert "Peak learning rate. (default: 0.75)" in shown


@pytest.mark.parametrize("text", ["[&a [1, 1], *a, *a]", "[" * 5000, "9" * 5000, "{a: 1, a: 2}"])
def test_text_that_is_made_to_harm_stays_text_and_does_not_fit(recipes, text):
    with pytest.raises(ValueError, match="learning_rate takes a number"):
        parse_arguments(MethodArguments, ["--learning_rate", text])
    with pytest.raises(ValueError, match="learning_rate takes a number"):
        parse_arguments(MethodArguments, ["--recipe", recipes("m/c", f"method: m\nlearning_rate: '{text}'\n")])
