"""Which module may import which: no circles, and rooms in one direction (docs/architecture.md)."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import hf_vidmodels
from hf_vidmodels.hub.code_export import EXPORTED_ROOMS

ROOT = Path(hf_vidmodels.__file__).parent
# Rooms from below to above; a module imports from its own room and from those before it.
ROOMS = (
    "configuration",
    "modeling",
    "processing",
    "metrics",
    "visualization",
    "data",
    "evaluation",
    "pipelines",
    "conversion",
    "hub",
    "training",
    "commands",
)


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(name, path, modules):
    """Names of the package's modules that a module imports, wherever in it: at the top, in functions, for types."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names}
    return found & set(modules)


@pytest.fixture(scope="module")
def imports():
    """By the name of each module those that it imports."""
    modules = {name_of(path): path for path in ROOT.rglob("*.py")}
    return {name: imports_of(name, path, modules) for name, path in modules.items()}


def room_of(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


def test_no_module_imports_itself_by_a_detour(imports):
    assert sum(map(len, imports.values())) > 400
    # Raises graphlib.CycleError, which names the circle.
    TopologicalSorter(imports).prepare()


def test_rooms_import_only_from_rooms_below(imports):
    backwards = [
        f"{name} imports {target}"
        for name, targets in imports.items()
        for target in targets
        if room_of(name) and room_of(target) and ROOMS.index(room_of(target)) > ROOMS.index(room_of(name))
    ]
    assert not backwards


def test_what_is_exported_to_the_hub_imports_nothing_but_what_is_exported(imports):
    outside = [
        f"{name} imports {target}"
        for name, targets in imports.items()
        for target in targets
        if name.split(".")[1:2] and name.split(".")[1] in EXPORTED_ROOMS and target.split(".")[1] not in EXPORTED_ROOMS
    ]
    assert not outside
