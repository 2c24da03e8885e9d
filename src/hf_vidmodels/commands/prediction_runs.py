"""One prediction after the other, each drawn beside the next: shared among processes, with those that fail reported at
the end.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
# The first is at work, the others wait; each holds what it draws in memory.
DRAWINGS_AT_ONCE = 2
TableRows = list[tuple[str, ...]]


class Predicted(NamedTuple):
    """What is found in one input, its lines of the printed table, and what draws it and writes the drawings."""

    answer: Any
    rows: TableRows
    draw: Callable[[], None] | None = None


# One input by name and source -> what is found.
PredictOne = Callable[[str, Any], Predicted]


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

    Inputs are drawn one after the other in a thread, while the next are predicted on; an input is done when it is
    drawn. A prediction that was stopped, or of which inputs failed, goes on from its journal in
    `arguments.output_dir`.

    Args:
        inputs: sources by name.
        predict_one: predicts on one input; its errors, and those of drawing, are a failure of this input alone.
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
    drawn: list[Future[_Found]] = []
    try:
        with (
            ThreadPoolExecutor(1, "drawing") as drawer,
            tqdm(total=len(names), desc="predicting", unit=unit, disable=hidden) as bar,
        ):
            for number, start in enumerate(range(0, len(names), BLOCK_SIZE), start=1):
                block = range(start, min(start + BLOCK_SIZE, len(names)))
                before = [_Found(*one) for one in journal.blocks.get(number, ())]
                if before and all(one.failure is None for one in before):
                    predictions.add(before)
                    bar.update(len(block))
                    continue
                for place in rows_of_process(accelerator, len(block)):
                    index = block[place]
                    one, draw = _predict(index, names[index], inputs[names[index]], predict_one)
                    drawn.append(drawer.submit(_draw, one, draw))
                    _take_drawn(drawn, found, DRAWINGS_AT_ONCE)
                    bar.update(min(accelerator.num_processes, len(block) - place))
                _take_drawn(drawn, found, 0)
                of_all, found = gather_object(found), []
                answers = predictions.add(of_all)
                if accelerator.is_main_process:
                    if after_block is not None and answers:
                        after_block(number, answers)
                    journal.add(number, of_all)
    finally:
        # Not empty when this process was stopped inside a block.
        predictions.add([*found, *(one.result() for one in drawn if one.done() and one.exception() is None)])
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


def _predict(index: int, name: str, source: Any, predict_one: PredictOne) -> tuple[_Found, Callable[[], None] | None]:
    """Give what came of one input before it is drawn, and what draws it."""
    try:
        answer, rows, draw = Predicted(*predict_one(name, source))
    except Exception as error:
        return _Found(index, name, failure=_reason(error)), None
    return _Found(index, name, answer, rows), draw


def _draw(one: _Found, draw: Callable[[], None] | None) -> _Found:
    try:
        if draw is not None:
            draw()
    except Exception as error:
        return _Found(one.index, one.name, failure=_reason(error))
    return one


def _take_drawn(drawn: list[Future[_Found]], found: list[_Found], left: int) -> None:
    """Move inputs from `drawn` to `found` when they are drawn, until so many are left."""
    while len(drawn) > left:
        found.append(drawn[0].result())
        del drawn[0]


def _reason(error: Exception) -> str:
    """Say in one line why nothing came of an input; an unexpected error is raised where its traceback is asked for."""
    if isinstance(error, ValueError | OSError):
        return one_line(error)
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        raise error
    # A mistake of the program; the other inputs may still be fine.
    return f"unexpected: {type(error).__name__}: {one_line(error)}"
