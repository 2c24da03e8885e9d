import pytest
import torch

from hf_vidmodels.training.arguments import TrainingArguments
from hf_vidmodels.training.recipe import Evaluation
from hf_vidmodels.training.run_files import format_tables, shown_command
from hf_vidmodels.training.schedules import build_scheduler


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


def test_tables_are_aligned_text():
    table = {"title": "mAP", "columns": ["step", "0.5", "videos"], "rows": [["base", 0.25, 3], ["refined", 1.0, None]]}
    assert format_tables([table]).splitlines() == [
        "mAP",
        "step        0.5  videos",
        "-----------------------",
        "base     0.2500       3",
        "refined  1.0000        ",
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
