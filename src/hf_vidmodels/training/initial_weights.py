"""Starting a training from the weights of a finished model."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from transformers import PreTrainedModel

from ..data.content_checks import name_some
from ..modeling.modeling_base import lacking_weights

BACKBONE = "backbone"


@dataclass(frozen=True)
class TakenWeights:
    """What came of it.

    Attributes:
        source: folder or Hub id.
        taken: number of tensors that were taken over.
        new: tensors that start afresh.
        unused: tensors of the source that the model has no place for.
    """

    source: str
    taken: int
    new: list[str]
    unused: list[str]

    def sentence(self) -> str:
        """Say it for the terminal."""
        sentence = f"Took {self.taken} tensors from {self.source}"
        for names, verb in ((self.new, "start afresh"), (self.unused, "are left out")):
            if names:
                sentence += f"; {len(names)} {verb} ({name_some(names)})"
        return sentence + "."


def take_weights(
    model: PreTrainedModel,
    source: str,
    optional: Collection[str],
    backbones: Mapping[str, type[PreTrainedModel]] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> TakenWeights:
    """Copy the weights of a saved model of the same method, or the backbone of a plain one, into a new model.

    Everything must have its counterpart, apart from the modules named in `optional`. The classifier is taken over only
    by a model of the same classes in the same order.

    Args:
        model: the new model.
        source: folder or Hub id of the saved one.
        optional: first parts of the names of weights that one of both models may lack, such as `"temporal_selectors"`.
        backbones: classes of other methods by `model_type`, whose `backbone` is that of `model`; of these only that is
            taken.
        renamed: beginnings of names of a plain model's backbone, and what they are in `model`.

    Raises:
        ValueError: the source is of another method, or its weights do not fit; names those.
        OSError: there is no such model.
    """
    # The model of a recipe of one's own need not be known to the Auto classes.
    model_type = model.config.get_config_dict(source)[0].get("model_type")
    saved_class = {**(backbones or {}), model.config.model_type: type(model)}.get(model_type)
    if saved_class is None:
        raise ValueError(
            f"model_name_or_path {source} is a {model_type} model, but a {model.config.model_type} model is trained"
        )
    saved, info = saved_class.from_pretrained(source, output_loading_info=True, ignore_mismatched_sizes=True)
    random = lacking_weights(info)
    theirs = {name: value for name, value in saved.state_dict().items() if name not in random}
    ours = model.state_dict()
    if saved_class is not type(model):
        theirs = {
            _renamed(name, renamed or {}): value for name, value in theirs.items() if _module_of(name) == BACKBONE
        }
        optional = {_module_of(name) for name in ours} - {BACKBONE}
    elif saved.config.id2label != model.config.id2label:
        optional = {*optional, "classifier"}
        theirs = {name: value for name, value in theirs.items() if _module_of(name) != "classifier"}
    fitting = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    new, unused = sorted(set(ours) - set(fitting)), sorted(set(theirs) - set(fitting))
    wrong = [name for name in (*new, *unused) if _module_of(name) not in optional]
    if wrong:
        raise ValueError(
            f"the weights of {source} do not fit the model: {name_some(sorted(set(wrong)))} are missing, too many or "
            "of another shape; start from a model with the same backbone settings"
        )
    model.load_state_dict(fitting, strict=False)
    return TakenWeights(source, len(fitting), new, unused)


def _renamed(name: str, beginnings: Mapping[str, str]) -> str:
    old = next((old for old in beginnings if name.startswith(old)), "")
    return beginnings.get(old, "") + name.removeprefix(old)


def _module_of(name: str) -> str:
    return name.split(".", 1)[0]
