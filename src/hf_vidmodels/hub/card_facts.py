"""What a model card says about a method that no run can measure, read from `cards/<method>.md`.

Such a file is YAML front matter with the fields of `CardFacts`, followed by Markdown whose `## ` headings become
sections of the card.
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ..printable_text import printable

OPTIONAL_FIELDS = {"usage_imports", "video_usage", "pipeline_tag"}
CARDS_FOLDER = Path(__file__).parent / "cards"


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus as its users know it.

    Args:
        id: its name in `load_corpus`, without the folders of a path.
        name: how it is written.
        license: the Hub's identifier for the licence of weights trained on it.
        terms: a paragraph about the licence of the data and of such weights.
        license_name: for the licence `other`, what it is called.
        license_link: for the licence `other`, where it is.
    """

    id: str
    name: str
    license: str
    terms: str
    license_name: str | None = None
    license_link: str | None = None


@dataclass(frozen=True)
class CardFacts:
    """Facts about one method.

    Args:
        name: of the method, as its authors write it.
        summary: what it does, one sentence.
        tags: words to find it by.
        paper: `title`, `authors`, `venue` and `url`.
        citation: BibTeX.
        usage: Python that uses `model` and `processor`, runnable after `usage_imports`.
        corpora: what is known about the corpora it is published on, by their names in `load_corpus`.
        sections: Markdown by heading.
        usage_imports: what `usage` imports, if anything.
        video_usage: Python that uses `model_id` and `pipeline` on a video file; for methods that work on features.
        pipeline_tag: the Hub's task whose pipeline in transformers runs the model: the model's page on the Hub begins
            with that call.
    """

    name: str
    summary: str
    tags: list[str]
    paper: dict[str, str]
    citation: str
    usage: str
    corpora: dict[str, CorpusFacts]
    sections: dict[str, str]
    usage_imports: str | None = None
    video_usage: str | None = None
    pipeline_tag: str | None = None

    def corpus(self, name_or_path: str) -> CorpusFacts:
        """Facts about a corpus; of one that is not listed, that its licence is not known here."""
        if name_or_path in self.corpora:
            return self.corpora[name_or_path]
        path = Path(name_or_path).expanduser()
        # The folders above a corpus are nobody's business but its owner's.
        name = path.name if path.is_absolute() or path.exists() else name_or_path
        name = " ".join(printable(name).split())
        terms = (
            f"The licence of {name} is not recorded here. Weights inherit the terms of the data that they were "
            "trained on, so check those of the corpus before any use."
        )
        return CorpusFacts(id=name, name=name, license="unknown", terms=terms)


def load_card_facts(method: str) -> CardFacts:
    """Read the facts of a method.

    Args:
        method: its stem, such as `asm_loc`.

    Raises:
        ValueError: when there is no file for the method, or the file lacks a field.
    """
    path = CARDS_FOLDER / f"{method}.md"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in CARDS_FOLDER.glob("*.md")))
        raise ValueError(f"there are no card facts for the method {method!r}; there are for: {known}")
    _, front_matter, body = re.split(r"^---\n", path.read_text(encoding="utf-8"), maxsplit=2, flags=re.MULTILINE)
    content: dict[str, Any] = yaml.safe_load(front_matter)
    known_fields = {field.name for field in fields(CardFacts)} - {"sections"}
    missing, unknown = known_fields - set(content) - OPTIONAL_FIELDS, set(content) - known_fields
    if missing or unknown:
        raise ValueError(f"{path} lacks the fields {sorted(missing)} and has the unknown ones {sorted(unknown)}")
    content = {name: value.strip() if isinstance(value, str) else value for name, value in content.items()}
    content["corpora"] = {name: CorpusFacts(id=name, **corpus) for name, corpus in content["corpora"].items()}
    return CardFacts(**content, sections=_sections(body))


def _sections(body: str) -> dict[str, str]:
    headings_and_texts = re.split(r"^## (.+)$", body, flags=re.MULTILINE)[1:]
    return {
        heading: text.strip() for heading, text in zip(headings_and_texts[::2], headings_and_texts[1::2], strict=True)
    }
