"""One prediction after the other: shared among processes, with those that fail reported at the end."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from ..evaluation.evaluation import rows_of_process
from .text_tables import one_line

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
        self.rows += [row for one in ordered for row in one.rows]
        self.failures |= {one.name: one.failure for one in ordered if one.failure is not None}
        return answers


def predict_each(
    inputs: Mapping[str, Any],
    predict_one: PredictOne,
    accelerator: Accelerator,
    unit: str,
    write: Callable[[dict[str, Any]], None],
    after_block: Callable[[dict[str, Any]], None] | None = None,
) -> Predictions:
    """Predict on the inputs, shared among the processes; every process gets what all found.

    Args:
        inputs: sources by name.
        predict_one: predicts on one input and draws it; its ValueError or OSError is a failure of this input alone.
        accelerator: whose processes share the inputs.
        unit: what an input is called beside the bar.
        write: writes the answers, on the main process and if there are any; those so far when it is stopped.
        after_block: called on the main process with the answers of every `BLOCK_SIZE` inputs, which it may shorten.
    """
    names, predictions = list(inputs), Predictions()
    hidden = len(names) == 1 or not accelerator.is_main_process
    found: list[_Found] = []
    try:
        with tqdm(total=len(names), desc="predicting", unit=unit, disable=hidden) as bar:
            for start in range(0, len(names), BLOCK_SIZE):
                block = range(start, min(start + BLOCK_SIZE, len(names)))
                for place in rows_of_process(accelerator, len(block)):
                    index = block[place]
                    found.append(_predict(index, names[index], inputs[names[index]], predict_one))
                    bar.update(min(accelerator.num_processes, len(block) - place))
                answers = predictions.add(gather_object(found))
                found = []
                if after_block is not None and answers and accelerator.is_main_process:
                    after_block(answers)
    finally:
        # Not empty when this process was stopped inside a block.
        predictions.add(found)
        if predictions.answers and accelerator.is_main_process:
            write(predictions.answers)
    return predictions


def _predict(index: int, name: str, source: Any, predict_one: PredictOne) -> _Found:
    try:
        return _Found(index, name, *predict_one(name, source))
    except (ValueError, OSError) as error:
        return _Found(index, name, failure=one_line(error))
