import re
from pathlib import Path

import datasets
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "data.md"
OTHER_PAGES = (
    "mal.md",
    "gta.md",
    "hierarchical_motion.md",
    "video_resnet.md",
    "action_detection.md",
    "semiformer.md",
    "step.md",
    "cross_x.md",
)


def examples_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


EXAMPLES = examples_of(PAGE)


@pytest.mark.parametrize(
    "example",
    [*EXAMPLES, *(example for page in OTHER_PAGES for example in examples_of(DOCS / page))],
)
def test_the_examples_of_the_pages_run(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    exec(compile(example, str(PAGE), "exec"), {})


def test_the_page_names_every_task():
    from hf_vidmodels.data.contracts import task_contract
    from hf_vidmodels.tasks import TASKS

    text = PAGE.read_text(encoding="utf-8")
    assert len(EXAMPLES) >= 5
    for task in TASKS:
        contract = task_contract(task)
        assert task.replace("-", " ") in text or task in text
        assert all(f"`{column.name}`" in text for column in contract.columns)
