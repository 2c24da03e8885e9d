"""One prediction after the other: shared among processes, with those that fail reported at the end."""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ..command_line import TRACEBACK_VARIABLE, one_line
from ..evaluation.evaluation import rows_of_process
from .prediction_journal import PredictionJournal

# So many inputs go by between two exchanges of the processes.
BLOCK_SIZE = 20
TableRows = list[tuple[str, ...]]
# One input by name and source -> its answer, and its lines of the printed table.
PredictOne = Callable[[str, Any], tuple[Any, TableRows]]


class _Found(NamedTuple):
    """What came of one input: an answer with its lines, or the reason why there is none."""

    index: int
    name: str
    answer: Any = None
    rows: TableRows = ()
    failure: str | None = None


@dataclass
class Predictions:
    """What came of all inputs, in their order.

    Attributes:
        answers: by name of the input.
        rows: lines of the printed table.
        failures: reasons by name of the input, one line each.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    rows: TableRows = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, found: Iterable[_Found]) -> dict[str, Any]:
        """Take over what came of some inputs, and give the answers among it."""
        ordered = sorted(found, key=lambda one: one.index)
        answers = {one.name: one.answer for one in ordered if one.failure is None}
        self.answers |= answers
        self.rows += [tuple(row) for one in ordered for row in one.rows]
        self.failures |= {one.name: one.failure for one in ordered if one.failure is not None}
        return answers


def predict_each(
    inputs: Mapping[str, Any],
    predict_one: PredictOne,
    arguments: argparse.Namespace,
    accelerator: Accelerator,
    unit: str,
    write: Callable[[dict[str, Any]], None],
    after_block: Callable[[int, dict[str, Any]], None] | None = None,
) -> Predictions:
    """Predict on the inputs, shared among the processes; every process gets what all found.

    A prediction that was stopped, or of which inputs failed, goes on from its journal in `arguments.output_dir`.

    Args:
        inputs: sources by name.
        predict_one: predicts on one input and draws it; its errors are a failure of this input alone.
        arguments: the command line, whose settings the predictions depend on.
        accelerator: whose processes share the inputs.
        unit: what an input is called beside the bar.
        write: writes the answers, on the main process and if there are any; those so far when it is stopped.
        after_block: called on the main process with the number, from 1, and the answers of every `BLOCK_SIZE` inputs,
            which it may shorten.
    """
    names, predictions = list(inputs), Predictions()
    journal = PredictionJournal(arguments, inputs)
    # Nobody writes before all have read.
    accelerator.wait_for_everyone()
    hidden = len(names) == 1 or not accelerator.is_main_process
    found: list[_Found] = []
    try:
        with tqdm(total=len(names), desc="predicting", unit=unit, disable=hidden) as bar:
            for number, start in enumerate(range(0, len(names), BLOCK_SIZE), start=1):
                block = range(start, min(start + BLOCK_SIZE, len(names)))
                before = [_Found(*one) for one in journal.blocks.get(number, ())]
                if before and all(one.failure is None for one in before):
                    predictions.add(before)
                    bar.update(len(block))
                    continue
                for place in rows_of_process(accelerator, len(block)):
                    index = block[place]
                    found.append(_predict(index, names[index], inputs[names[index]], predict_one))
                    bar.update(min(accelerator.num_processes, len(block) - place))
                of_all, found = gather_object(found), []
                answers = predictions.add(of_all)
                if accelerator.is_main_process:
                    if after_block is not None and answers:
                        after_block(number, answers)
                    journal.add(number, of_all)
    finally:
        # Not empty when this process was stopped inside a block.
        predictions.add(found)
        if predictions.answers and accelerator.is_main_process:
            write(predictions.answers)
    if not predictions.failures and accelerator.is_main_process:
        journal.remove()
    return predictions


def class_rows(name: str, found: Sequence[Mapping[str, Any]]) -> TableRows:
    """Give the lines of the printed table for one input: its best classes."""
    return [
        (name if place == 0 else "", answer["label"], f"{answer['score']:.3f}") for place, answer in enumerate(found)
    ]


def report_failures(failures: Mapping[str, str], num_inputs: int, sentence: str) -> None:
    """Print each input that failed with its reason, and end with an error when there is any.

    Args:
        failures: reasons by input, one line each.
        num_inputs: how many inputs there were.
        sentence: what happened to them, such as `"pictures could not be read"`.

    Raises:
        ValueError: when an input failed; names all.
    """
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}")
    if failures:
        raise ValueError(f"{len(failures)} of {num_inputs} {sentence}: {', '.join(failures)}")


def _predict(index: int, name: str, source: Any, predict_one: PredictOne) -> _Found:
    try:
        return _Found(index, name, *predict_one(name, source))
    except (ValueError, OSError) as error:
        return _Found(index, name, failure=one_line(error))
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            raise
        # A mistake of the program; the other inputs may still be fine.
        return _Found(index, name, failure=f"unexpected: {type(error).__name__}: {one_line(error)}")
