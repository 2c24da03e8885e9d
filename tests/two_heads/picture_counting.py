"""A toy task: how many things are in a picture. What its row names is all here."""

import numpy as np
import torch
from matplotlib.figure import Figure
from transformers import AutoImageProcessor

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.auto import AUTO_CLASSES
from hf_vidmodels.commands.prediction_runs import predict_each, report_failures
from hf_vidmodels.data.contracts import Column, TaskContract
from hf_vidmodels.evaluation.evaluation import Evaluation, rows_of_process
from hf_vidmodels.evaluation.scored_corpora import load_scored_corpus
from hf_vidmodels.processing.picture_reading import read_picture
from hf_vidmodels.tasks import Option, Task
from hf_vidmodels.text_tables import print_table

HERE = "two_heads.picture_counting"
ROW = Task(
    name="picture-counting",
    answer="how many things are in a picture",
    auto_class="AutoModelForPictureCounting",
    contract=f"{HERE}:CONTRACT",
    check_contents=f"{HERE}:check_counts",
    draw_examples=f"{HERE}:draw_counts",
    evaluate=f"{HERE}:evaluate_on_corpus",
    find_inputs=".commands.input_files:find_pictures",
    predict=f"{HERE}:count_in_pictures",
    predict_options=(Option("at_most", "largest count to give", {"type": int}),),
)
CONTRACT = TaskContract((Column("image", "image", "the picture"), Column("count", "count", "things in it")))


def check_counts(report):
    counts = np.array(report.column("count").to_pylist())
    report.add_rows("error", counts < 0, "rows have a negative count", "count again")


def draw_counts(examples, features, title):
    figure = Figure()
    figure.suptitle(f"{title}: {[example['count'] for example in examples]}")
    return figure


def count(model, processor, pictures):
    with torch.no_grad():
        return model(**processor(pictures, return_tensors="pt")).counts.tolist()


def evaluate_on_corpus(model, arguments, accelerator):
    dataset = load_scored_corpus(arguments, ROW.name, accelerator)[arguments.split]
    processor = AutoImageProcessor.from_pretrained(arguments.model)
    mine = list(rows_of_process(accelerator, len(dataset)))
    found = count(model, processor, [dataset[row]["image"] for row in mine])
    error = float(np.mean(np.abs(np.array(found) - np.array(dataset["count"]))))
    return Evaluation({"closeness": 1 / (1 + error)}, "closeness", arguments.split, len(dataset))


def count_in_pictures(arguments, sources, accelerator):
    model = AUTO_CLASSES[ROW.name].from_pretrained(arguments.model)
    processor = AutoImageProcessor.from_pretrained(arguments.model)

    def count_one(name, path):
        (found,) = count(model, processor, [read_picture(path)])
        found = found if arguments.at_most is None else min(found, arguments.at_most)
        return found, [(name, f"{found:.1f}")]

    def write(answers):
        write_json(arguments.output_dir / "counts.json", answers)

    found = predict_each(sources, count_one, arguments, accelerator, "picture", write)
    print_table(("picture", "count"), found.rows)
    report_failures(found.failures, len(sources), "pictures could not be counted")
