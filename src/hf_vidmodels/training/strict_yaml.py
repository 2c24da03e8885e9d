"""YAML from strangers: data alone, every field once, and no more of it than is written there."""

from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml

MOST_FIELDS = 1000


def load_yaml(text: str) -> Any:
    """Read YAML.

    Raises:
        yaml.YAMLError: it is none, gives a field twice, repeats values by name, or has too many fields.
        ValueError: a value is no number that Python reads.
        RecursionError: it is nested too deeply.
    """
    return yaml.load(text, Loader=_StrictLoader)


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses fields that are given twice and values that are repeated by name.

    A few lines of the latter can stand for gigabytes.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise yaml.YAMLError(f"*{alias.anchor} in line {alias.start_mark.line + 1} repeats a value; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if len(node.value) > MOST_FIELDS:
            raise yaml.YAMLError(f"it has {len(node.value)} fields, a recipe has at most {MOST_FIELDS}")
        names = Counter(self.construct_object(key) for key, _ in node.value)
        for name, count in names.items():
            if count > 1:
                raise yaml.YAMLError(f"the field {name!r} is given twice")
        return super().construct_mapping(node, deep=deep)
