"""The layout: a document that reads, checks and writes itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .instance import Document
from .json_text import parse_json
from .problems import Problem, problems_fault
from .reading import read_document
from .validation import find_problems
from .writing import document_data, document_text


@dataclass(frozen=True)
class Layout(Document):
    """A canvas with instances on it; their order is the stacking order, the last one in front."""

    def problems(self) -> list[Problem]:
        """Everything worth telling the author, in the order of the document."""
        return find_problems(self)

    def checked(self) -> Layout:
        """The layout itself; LayoutError naming every error in it (warnings pass)."""
        errors = [problem for problem in self.problems() if problem.severity == "error"]
        if errors:
            raise problems_fault("has_errors", errors)
        return self

    @classmethod
    def from_json(cls, text: str | bytes) -> Layout:
        """Read a document. LayoutError for text that is not one; odd values are left to `problems`."""
        return cls.from_dict(parse_json(text))

    @classmethod
    def from_dict(cls, data: Any) -> Layout:
        """Read a document from parsed JSON; LayoutError listing what has the wrong type."""
        return cls(**vars(read_document(data)))

    def to_json(self) -> str:
        """The document as text, one instance a line, without fields at their default."""
        return document_text(self)

    def to_dict(self) -> dict[str, Any]:
        """The document as JSON values, without fields at their default."""
        return document_data(self)
