"""Export of a model's code into its repository: it loads with `trust_remote_code=True` and without the package.

transformers finds the code that a file needs by a regular expression that knows only `from .name import ...` of files
in the same folder. So every module that the classes need is written side by side, with its imports of the package
rewritten to that form, and `auto_map` entries in the JSON files say where the classes are. `save_pretrained` of our
classes writes neither (see `modeling_base`), so that code and `auto_map` always come and go together.
"""

import ast
import importlib.util
import io
import json
import os
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedModel

from ..__about__ import __version__
from ..atomic_io import atomic_write, write_json
from ..auto import method_of, task_classes
from ..methods import kind_of_processor

PACKAGE = __name__.split(".")[0]
EXPORTED_ROOMS = ("configuration", "modeling", "processing", "optional_packages")
HEADER = f"# Written by {PACKAGE} {__version__} (Apache-2.0) from its module {{module}}; change it there.\n"


def export_code(model: PreTrainedModel, folder: str | os.PathLike[str], processors: Sequence[Any] = ()) -> list[Path]:
    """Write the code of `model` and `processors` into `folder`, where both were saved before.

    Afterwards the folder loads with `trust_remote_code=True` in a process that cannot import this package; processes
    that have imported it go on using its classes. Exporting again replaces the files.

    Args:
        model: an instance of a class of this package.
        folder: where `model.save_pretrained` and the processors' `save_pretrained` have written.
        processors: processors of this package, at most one of each kind.

    Returns:
        The code files, sorted.

    Raises:
        FileNotFoundError: when `folder` lacks the JSON file of the model or of a processor.
        ValueError: when a class is not of this package, `folder` holds another model, or the code breaks a rule of
            `flatten_modules`.
    """
    folder = Path(folder)
    method = method_of(model.config)
    auto_classes = {"AutoConfig": type(model.config), "AutoModel": type(model)}
    for auto_class, model_class in task_classes(method).items():
        # Our own Auto classes exist only with the package, and then its classes are used.
        if hasattr(transformers, auto_class.__name__):
            auto_classes[auto_class.__name__] = model_class
    entries = [("config.json", auto_classes)]
    for processor in processors:
        auto_class, file_name = kind_of_processor(type(processor))
        entries.append((file_name, {auto_class: type(processor)}))
    contents = {name: _with_auto_map(folder / name, classes) for name, classes in entries}
    if contents["config.json"].get("model_type") != model.config.model_type:
        raise ValueError(f"{folder}/config.json is not that of {type(model).__name__}; save the model there first")
    classes = [type(model), *(found for _, by_name in entries for found in by_name.values())]
    sources = flatten_modules(_module_of(found) for found in classes)
    paths = []
    for stem, source in sources.items():
        paths.append(folder / f"{stem}.py")
        with atomic_write(paths[-1], "w") as file:
            file.write(source)
    for name, content in contents.items():
        write_json(folder / name, content)
    return sorted(paths)


def flatten_modules(module_names: Iterable[str], package: str = PACKAGE) -> dict[str, str]:
    """Collect modules and all they import from `package`, with imports rewritten for one flat folder.

    Args:
        module_names: full dotted names.
        package: name of the package whose modules travel; everything else must be installed where the code runs.

    Returns:
        Rewritten source by file stem.

    Raises:
        ValueError: when a module is outside the rooms `configuration`, `modeling` and `processing`, is a package's
            `__init__`, has the stem of another one, imports with `import package...`, or has its import not at the
            beginning of a line, where transformers would not find it.
    """
    todo, origins, sources = list(module_names), {}, {}
    while todo:
        name = todo.pop()
        stem = name.rpartition(".")[2]
        if origins.get(stem) == name:
            continue
        if stem in origins:
            raise ValueError(f"modules {origins[stem]} and {name} would both be exported as {stem}.py; rename one")
        origins[stem] = name
        source = _read_module(name, package)
        imports = list(_package_imports(source, name, package))
        sources[stem] = HEADER.format(module=name) + _rewrite_imports(source, imports, name)
        todo += [target for _, target in imports]
    return sources


def _with_auto_map(path: Path, classes: dict[str, type]) -> dict[str, Any]:
    """Read a saved JSON file and say in it where the classes that load it are, by Auto class."""
    if not path.is_file():
        names = " and ".join(found.__name__ for found in classes.values())
        raise FileNotFoundError(f"{path} is missing; call save_pretrained({str(path.parent)!r}) of {names} first")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["auto_map"] = {
        auto_name: f"{_module_of(found).rpartition('.')[2]}.{found.__name__}" for auto_name, found in classes.items()
    }
    return content


def _module_of(found: type) -> str:
    if not found.__module__.startswith(f"{PACKAGE}."):
        raise ValueError(
            f"{found.__name__} comes from {found.__module__}, not from {PACKAGE}; load the checkpoint after "
            f"`import {PACKAGE}` (a class loaded with trust_remote_code brings its code along when it is saved)"
        )
    return found.__module__


def _read_module(name: str, package: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {name} to export; correct the import of it")
    path = Path(spec.origin)
    if path.stem == "__init__":
        raise ValueError(f"{name} is a package; import from the module that defines the name instead")
    if name.split(".")[1] not in EXPORTED_ROOMS:
        raise ValueError(f"{name} cannot be exported: only {', '.join(EXPORTED_ROOMS)} of {package} travel to the Hub")
    return path.read_text(encoding="utf-8")


def _package_imports(source: str, module: str, package: str) -> Iterator[tuple[ast.ImportFrom, str]]:
    """Yield each `from`-import of the package, wherever in the file, and the module it imports from."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == package:
                    raise ValueError(
                        f"{module}, line {node.lineno}: `import {alias.name}` cannot be exported; write "
                        "`from ..room.module import Name`"
                    )
        elif isinstance(node, ast.ImportFrom):
            target = importlib.util.resolve_name("." * node.level + (node.module or ""), module.rpartition(".")[0])
            if target.split(".")[0] == package:
                yield node, target


def _rewrite_imports(source: str, imports: Iterable[tuple[ast.ImportFrom, str]], module: str) -> str:
    """Replace the heads `from ..room.module import` by `from .module import`; everything else stays as it is."""
    lines = source.splitlines(keepends=True)
    # From the end of the file to its beginning, so that line numbers of what is left to do stay true.
    for node, target in sorted(imports, key=lambda found: -found[0].lineno):
        first, start = node.lineno - 1, node.col_offset
        if lines[first][:start].strip():
            raise ValueError(f"{module}, line {node.lineno}: an import of the package must begin its own line")
        statement = "".join(lines[first : node.end_lineno])
        row, column = _position_of_import(statement[start:])
        last = first + row
        rest = lines[last][(start if row == 0 else 0) + column :]
        lines[first : last + 1] = [f"{lines[first][:start]}from .{target.rpartition('.')[2]} {rest}"]
    return "".join(lines)


def _position_of_import(statement: str) -> tuple[int, int]:
    """Find the word `import` in a `from`-import as (row, column), both from 0."""
    tokens = tokenize.generate_tokens(io.StringIO(statement).readline)
    row, column = next(token.start for token in tokens if token.string == "import")
    return row - 1, column
