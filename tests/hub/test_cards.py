import ast
import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown_it import MarkdownIt
from transformers.pipelines import PIPELINE_REGISTRY

from hf_vidmodels.auto import METHODS, task_of
from hf_vidmodels.hub.card_facts import CARDS_FOLDER, load_card_facts
from hf_vidmodels.hub.cards import TEMPLATES_FOLDER, render_card, set_model_id, write_card

NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w]|\.\d)")
FIXTURES = Path(__file__).parents[1] / "fixtures" / "hub"
MODEL_CARDS = Path(__file__).parents[2] / "model_cards"
TRANSFORMERS_TASKS = PIPELINE_REGISTRY.get_supported_tasks()
RUN_FILES = ("run.json", "metrics.json", "recipe.yaml", "training_log.jsonl", "config.json")


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "asm-loc-digits")


def change_json(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))


def numbers_in(text):
    return {float(number.replace(",", "")) for number in NUMBER.findall(text)}


def python_blocks(card):
    return re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


def test_every_number_of_a_card_is_in_the_files_of_its_run(finished_run, monkeypatch):
    monkeypatch.chdir(finished_run.parent)
    card = render_card(finished_run)
    facts = (CARDS_FOLDER / "asm_loc.md").read_text()
    measured = set().union(*(numbers_in((finished_run / name).read_text()) for name in RUN_FILES))
    for text in (finished_run / "run.json").read_text(), facts:
        measured |= {float(part) for part in re.findall(r"\d+(?:\.\d+)?", text)}
    # The card writes measured values with four digits, seconds with one.
    rounded = measured | {round(value, digits) for value in measured for digits in (1, 4)}
    assert numbers_in(card) - rounded == set()
    for value in (0.6123, 0.4373, 0.5248, 0.3318, 1234567, 137, 53, 241.8, 7919, 1.7321, 0.3921, 0.00013):
        assert value in numbers_in(card)


def test_the_template_itself_states_no_number():
    template = (TEMPLATES_FOLDER / "card.md").read_text()
    assert not re.search(r"\d", re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template, flags=re.DOTALL))


def test_the_metadata_is_valid_and_says_how_to_find_and_load_the_model(finished_run, hub):
    card = ModelCard(render_card(finished_run))
    card.validate()
    assert hub.requests == ["validate-yaml"]
    metadata = card.data.to_dict()
    assert metadata["library_name"] == "transformers"
    # No pipeline of transformers finds segments, so the Hub's page is not to begin with a call of one.
    assert "pipeline_tag" not in metadata
    assert metadata["license"] == "apache-2.0"
    assert {"hf_vidmodels", "custom_code", "asm_loc", "temporal-action-localization"} <= set(metadata["tags"])
    # A generated corpus is no data set of the Hub.
    assert "datasets" not in metadata


def test_the_metadata_holds_the_measured_values(finished_run):
    measured = json.loads((finished_run / "metrics.json").read_text())["metrics"]
    metadata = yaml.safe_load((finished_run / "README.md").read_text().split("---\n")[1])
    name, results = model_index_to_eval_results(metadata["model-index"])
    assert name == "ASM-Loc on embedded/untrimmed"
    assert {result.metric_type: result.metric_value for result in results} == measured
    assert {(result.dataset_type, result.dataset_split) for result in results} == {("embedded/untrimmed", "test")}
    # Files for leaderboards are for data sets that the Hub knows as benchmarks; none of ours is.
    assert not (finished_run / ".eval_results").exists()


def metadata_of(card):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, flags=re.DOTALL)[1])


def refuse_unknown_metadata(metadata):
    known = json.loads((FIXTURES / "tasks_and_licenses.json").read_text())
    assert metadata["license"] in known["licenses"]
    assert (metadata["license"] == "other") == ("license_name" in metadata) == ("license_link" in metadata)
    assert metadata.get("license_link", "https://").startswith(("https://", "http://"))
    assert metadata.get("pipeline_tag", known["tasks"][0]) in known["tasks"]
    ids = [*metadata.get("datasets", []), *metadata.get("base_model", [])]
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for name in ids)
    assert ("base_model_relation" in metadata) == ("base_model" in metadata)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.stem)
def test_cards_of_all_methods_and_corpora_have_metadata_that_the_hub_knows(method, run_folder):
    corpora = [*load_card_facts(method.stem).corpora, "someone/kitchen-videos", "my_folder"]
    for corpus in corpora:
        change_json(run_folder / "run.json", method=method.stem, corpus=corpus)
        metadata = metadata_of(render_card(run_folder))
        refuse_unknown_metadata(metadata)
        # The page on the Hub begins with a call of the pipeline of this name.
        tag = metadata.get("pipeline_tag")
        assert tag is None or tag in TRANSFORMERS_TASKS and task_of(method.config_class()) == tag
        assert metadata.get("datasets") == (["someone/kitchen-videos"] if corpus.startswith("someone") else None)


@pytest.mark.parametrize("path", sorted(MODEL_CARDS.glob("*.md")), ids=lambda path: path.stem)
def test_the_kept_cards_have_metadata_that_the_hub_knows(path):
    refuse_unknown_metadata(metadata_of(path.read_text()))


@pytest.mark.parametrize("field", ["model_name_or_path", "encoder_weights"])
def test_the_base_model_is_what_training_started_from(run_folder, field, monkeypatch):
    monkeypatch.chdir(run_folder.parent)
    for source, expected in [("timm/vit_small_patch16_224.dino", True), (run_folder.name, False), ("mvit-b", False)]:
        (run_folder / "recipe.yaml").write_text(yaml.safe_dump({"method": "asm_loc", field: source}))
        metadata = metadata_of(render_card(run_folder))
        assert metadata.get("base_model") == ([source] if expected else None)
        assert metadata.get("base_model_relation") == ("finetune" if expected else None)


HOSTILE = "a`b``` | c\\| <script>alert(1)</script> [x](http://evil) ![y](z)\n```\n# Heading\n---\n\x1b[31m"


def test_names_and_recipes_break_out_of_no_code_block_and_no_table(run_folder):
    change_json(run_folder / "run.json", corpus=HOSTILE, recipe=HOSTILE, command=HOSTILE, hardware={"cpu": HOSTILE})
    tables = [{"title": HOSTILE, "columns": ["a", HOSTILE], "rows": [[HOSTILE, 1.0]]}]
    metrics = {HOSTILE: 0.5}
    change_json(run_folder / "metrics.json", primary_metric=HOSTILE, split=HOSTILE, metrics=metrics, tables=tables)
    (run_folder / "recipe.yaml").write_text(f"note: |\n  x\n  ```\n  # {HOSTILE!r}\n  ````\n  <b>\n")
    (run_folder / "figures" / "a](http:evil) `b.png").write_bytes(b"png")
    plain = render_card(shutil.copytree(run_folder, run_folder.parent / 'run "); import os #'))
    assert metadata_of(plain)["model-index"][0]["results"][0]["dataset"]["split"] == HOSTILE
    html = MarkdownIt("commonmark").enable("table").render(plain.split("---\n", 2)[2])
    assert "<script>" not in html and "<b>" not in html and 'http://evil"' not in html and "\x1b" not in html
    assert html.count("<h1>") == 1 and "<h1>Heading" not in html
    # Every table has the cells that it should have.
    rows = re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL)
    assert {len(re.findall("<t[hd]", row)) for row in rows} == {2, 6}
    for block in python_blocks(plain):
        assert ast.parse(block)


def test_the_card_shows_pictures_command_settings_and_the_thresholds_of_the_average(finished_run):
    card = render_card(finished_run)
    assert "(figures/timelines.png)" in card
    assert "(figures/loss_curve.png)" in card
    assert "scripts/train.py --recipe asm_loc/embedded" in card
    assert "learning_rate: 0.00013" in card
    assert "tIoU thresholds 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7." in card
    assert "| GPU | none |" in card
    assert "boheumd/ASM-Loc" in card
    assert "arxiv.org/abs/2203.15187" in card


@pytest.mark.parametrize("block", [0, 1])
def test_loading_examples_run(run_folder, block, monkeypatch):
    monkeypatch.chdir(run_folder.parent)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(run_folder.parent / "modules"))
    code = python_blocks(render_card(run_folder))[block]
    assert ("trust_remote_code=True" in code) == (block == 1)
    # The tiny model of the tests has narrower features than the default processor.
    change_json(run_folder / "preprocessor_config.json", feature_size=16)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "card", "exec"), {})
    assert re.search(r"\d+\.\d\d s to +\d+\.\d\d s", printed.getvalue())


@pytest.mark.parametrize("place", ["..", ".", "/"])
def test_the_loading_examples_name_a_path_that_opens_from_where_the_card_is_made(run_folder, monkeypatch, place):
    monkeypatch.chdir(run_folder / place)
    (name,) = set(re.findall(r"^model_id = (.*?)  #", render_card(run_folder), flags=re.MULTILINE))
    assert Path(ast.literal_eval(name)).samefile(run_folder)


def test_the_video_example_is_shown_where_the_checkpoint_takes_video(run_folder):
    assert "video.mp4" not in render_card(run_folder)
    change_json(run_folder / "config.json", feature_extractor={"rgb_model": "feature_extractor"})
    assert 'localize("video.mp4"' in python_blocks(render_card(run_folder))[2]


def test_the_loading_examples_can_be_made_to_name_the_repository(finished_run):
    card = set_model_id(render_card(finished_run), "tester/asm-loc")
    assert card.count('model_id = "tester/asm-loc"') == 2
    assert "asm-loc-digits" not in "".join(python_blocks(card))
    other = 'model_id = "mine"\n'
    assert set_model_id(other, "tester/asm-loc") == other


def test_what_the_run_did_not_write_is_left_out(run_folder):
    for name in ("recipe.yaml", "training_log.jsonl", "figures/loss_curve.png", "figures/timelines.png"):
        (run_folder / name).unlink()
    (run_folder / "run.json").write_text(json.dumps({"method": "asm_loc", "corpus": "embedded/untrimmed"}))
    change_json(run_folder / "metrics.json", tables=[])
    card = render_card(run_folder)
    assert "The run left no picture of its loss." in card
    assert "The run left no recipe.yaml" in card
    assert "![" not in card
    assert "| mAP@0.3 | 0.6123 |" in card
    assert not [word for word in ("None", "seed", "wall time", "GPU") if f"| {word}" in card]


@pytest.mark.parametrize(
    ("corpus", "datasets", "words"),
    [
        ("thumos14", None, "THUMOS-14 consists of videos collected from the web"),
        (
            "someone/kitchen-videos",
            ["someone/kitchen-videos"],
            "The licence of someone/kitchen-videos is not recorded",
        ),
        ("/data/secret place/kitchen", None, "The licence of kitchen is not recorded"),
    ],
)
def test_other_corpora_bring_their_terms(run_folder, corpus, datasets, words):
    change_json(run_folder / "run.json", corpus=corpus)
    write_card(run_folder)
    card = ModelCard((run_folder / "README.md").read_text())
    assert words in " ".join(card.text.split())
    assert card.data.license == ("other" if corpus == "thumos14" else "unknown")
    assert card.data.datasets == datasets
    assert "secret place" not in str(card)


def test_cell_text_cannot_break_a_table(run_folder):
    change_json(run_folder / "run.json", hardware={"cpu": "Fast | Cheap\nCPU"})
    assert "| processor | Fast \\| Cheap CPU |" in render_card(run_folder)


@pytest.mark.parametrize(
    ("name", "content", "error", "complaint"),
    [
        ("metrics.json", None, FileNotFoundError, "metrics.json is missing"),
        ("run.json", None, FileNotFoundError, "run.json is missing"),
        ("metrics.json", "{", ValueError, "metrics.json is not valid JSON"),
        ("metrics.json", "[]", ValueError, "must hold a JSON object, got list"),
        ("metrics.json", {"metrics": {"average_mAP": float("nan")}}, ValueError, "finite number, got nan"),
        ("metrics.json", {"metrics": {"mAP@0.5": 0.5}}, ValueError, "'metrics' by name, 'average_mAP' among"),
        ("metrics.json", {"num_examples": 0}, ValueError, "'num_examples' as a positive count, got 0"),
        ("metrics.json", {"split": None}, ValueError, "must give 'split' as text, got None"),
        ("metrics.json", {"tables": [{"title": "t", "columns": ["a"], "rows": [[1, 2]]}]}, ValueError, "rows in"),
        ("run.json", {"method": 3}, ValueError, "must name the method as text, got 3"),
        ("run.json", {"method": "unheard_of"}, ValueError, "no card facts for the method 'unheard_of'; .*asm_loc"),
        ("training_log.jsonl", "{}\nhalf a li", ValueError, "holds a line that is not JSON"),
    ],
)  # fmt: skip
def test_broken_files_of_a_run_are_named(run_folder, name, content, error, complaint):
    if content is None:
        (run_folder / name).unlink()
    elif isinstance(content, dict):
        change_json(run_folder / name, **content)
    else:
        (run_folder / name).write_text(content)
    before = (run_folder / "README.md").read_text()
    with pytest.raises(error, match=complaint):
        write_card(run_folder)
    assert (run_folder / "README.md").read_text() == before


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.stem)
def test_every_method_has_facts_with_paper_use_and_limits(method):
    facts = load_card_facts(method.stem)
    assert facts.summary.endswith(".")
    assert set(facts.paper) == {"title", "authors", "venue", "url"}
    assert {"Intended use", "Limits", "Original code"} <= set(facts.sections)
    assert facts.citation.startswith("@")


def test_facts_that_lack_a_field_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_vidmodels.hub.card_facts.CARDS_FOLDER", tmp_path)
    (tmp_path / "half.md").write_text("---\nname: Half\ncolour: red\n---\n\n## Limits\n\nMany.\n")
    with pytest.raises(
        ValueError, match=r"half.md lacks the fields \['citation', 'corpora'.* the unknown ones \['colour'\]"
    ):
        load_card_facts("half")
