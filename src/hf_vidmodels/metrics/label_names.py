"""Class ids and class names, whichever way a caller holds them."""

from collections.abc import Mapping, Sequence

LabelNames = Sequence[str] | Mapping[int, str]


def names_by_id(label_names: LabelNames) -> dict[int, str]:
    """Return `{id: name}` from a list of names or from a mapping such as a configuration's `id2label`."""
    return dict(label_names) if isinstance(label_names, Mapping) else dict(enumerate(label_names))


def ids_by_name(label_names: LabelNames) -> dict[str, int]:
    """Return `{name: id}`.

    Raises:
        ValueError: when two ids have one name.
    """
    ids: dict[str, int] = {}
    for class_id, name in names_by_id(label_names).items():
        if name in ids:
            raise ValueError(f"label_names must be distinct, got {name!r} for class ids {ids[name]} and {class_id}")
        ids[name] = class_id
    return ids
