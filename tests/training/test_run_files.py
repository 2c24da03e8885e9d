import json
from types import SimpleNamespace

import pytest
import torch

from hf_vidmodels.evaluation.evaluation import Evaluation
from hf_vidmodels.text_tables import format_tables
from hf_vidmodels.training import run_files
from hf_vidmodels.training.arguments import TrainingArguments
from hf_vidmodels.training.run_files import (
    check_output_dir,
    open_output_dir,
    results_record,
    shown_command,
    write_results,
)
from hf_vidmodels.training.schedules import build_scheduler


@pytest.mark.parametrize(("is_main", "kind"), [(True, ValueError), (False, SystemExit)])
def test_a_used_folder_is_refused_in_one_sentence_whatever_the_number_of_processes(
    tmp_path, monkeypatch, is_main, kind
):
    (tmp_path / "notes.txt").write_text("mine")
    sentence = f"output_dir {tmp_path} is not empty"
    # What the other processes hear from the main one.
    monkeypatch.setattr(run_files, "broadcast_object_list", lambda found: found if is_main else [None, sentence])
    with pytest.raises(kind) as refused:
        check_output_dir(SimpleNamespace(is_main_process=is_main), TrainingArguments(output_dir=str(tmp_path)))
    if is_main:
        assert sentence in str(refused.value)
    else:
        assert refused.value.code == 2


def test_tokens_are_left_out_of_the_written_command():
    words = [
        "train.py",
        "--hub_token",
        "abc",
        "--api-key=abc",
        "--output_dir",
        "my run",
        "--note",
        "hf_AbCdEf1234567890",
    ]
    assert shown_command(words) == "train.py --hub_token ... --api-key=... --output_dir 'my run' --note ..."


@pytest.mark.parametrize(
    "spelling",
    [
        ["--overwrite_output_dir"],
        ["--overwrite_output_dir", "true"],
        ["--overwrite_output_dir=true"],
        ["--overwrite-output-dir"],
    ],
)
def test_a_copied_command_overwrites_no_folder(spelling):
    words = ["train.py", "--output_dir", "run", *spelling, "--seed", "1"]
    assert shown_command(words) == "train.py --output_dir run --seed 1"
    assert shown_command(words[:3] + spelling) == "train.py --output_dir run"


def test_overwriting_deletes_what_any_run_writes_and_nothing_else(tmp_path):
    written = (
        "modeling_asm_loc.py",
        "configuration_base.py",
        "feature_extractor/rgb/model.safetensors",
        "preprocessor_config.json",
        "processor_config.json",
        "video_preprocessor_config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "figures/loss_curve.png",
        "checkpoints/base-1/model.safetensors",
        ".eval_results/toy.yaml",
    )
    foreign = ("notes.txt", "my_model.py", "__init__.py", "loop.py", "model-best.safetensors", "my_folder/config.json")
    for name in written + foreign:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("earlier")
    open_output_dir(TrainingArguments(output_dir=str(tmp_path), overwrite_output_dir=True), "toy")
    assert {name for name in written + foreign if (tmp_path / name).exists()} == set(foreign)
    assert not (tmp_path / "feature_extractor").exists()
    assert (tmp_path / "recipe.yaml").is_file()


def test_metrics_json_says_what_was_measured_and_on_what(tmp_path):
    tables = [{"title": "t", "columns": ["a"], "rows": [[1]]}]
    evaluation = Evaluation(metrics={"mAP": 0.5}, primary_metric="mAP", split="test", num_examples=3, tables=tables)
    recipe = SimpleNamespace(task="video-classification", args=TrainingArguments(dataset_name="toy"))
    write_results(tmp_path, recipe, evaluation)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record == results_record("video-classification", "toy", evaluation)
    assert record == {
        "task": "video-classification",
        "corpus": "toy",
        "split": "test",
        "num_examples": 3,
        "primary_metric": "mAP",
        "metrics": {"mAP": 0.5},
        "tables": tables,
    }


def test_tables_are_aligned_text():
    table = {"title": "mAP", "columns": ["step", "0.5", "videos"], "rows": [["base", 0.25, 3], ["refined", 1.0, None]]}
    assert format_tables([table]).splitlines() == [
        "mAP",
        "step        0.5  videos",
        "-------  ------  ------",
        "base     0.2500       3",
        "refined  1.0000",
    ]


def test_an_evaluation_has_its_primary_metric_and_only_numbers():
    with pytest.raises(ValueError, match="primary_metric 'mAP' is not among"):
        Evaluation(metrics={"top1": 0.5}, primary_metric="mAP", split="test", num_examples=1)
    with pytest.raises(ValueError, match="top1 is nan"):
        Evaluation(metrics={"top1": float("nan")}, primary_metric="top1", split="test", num_examples=1)


def test_the_cosine_schedule_with_a_floor_warms_up_and_ends_at_the_floor():
    args = TrainingArguments(
        learning_rate=2.0, lr_scheduler_type="cosine_with_min_lr", min_lr_rate=0.25, warmup_ratio=0.2
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=args.learning_rate)
    scheduler = build_scheduler(optimizer, args, total_steps=10)
    rates = []
    for _ in range(11):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[:3] == pytest.approx([0.0, 1.0, 2.0])
    assert rates[6] == pytest.approx(1.25) and rates[10] == pytest.approx(0.5)
