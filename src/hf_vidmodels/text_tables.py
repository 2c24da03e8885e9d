"""Tables as lines of text in columns, the same way wherever one is printed."""

from collections.abc import Sequence
from typing import Any


def format_value(value: Any) -> str:
    """Write a value of a table: fractions with four digits after the point, nothing for `None`, others as they are."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def format_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write rows of text and numbers in columns; numbers stand right, with their column's name."""
    cells = [[format_value(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    is_right = [any(isinstance(row[place], int | float) for row in rows) for place in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_right, strict=True)
        )
        for line in (columns, ["-" * width for width in widths], *cells)
    ]
    return "\n".join(line.rstrip() for line in lines)


def format_tables(tables: Sequence[dict[str, Any]]) -> str:
    """Write the tables of an evaluation, each `{"title", "columns", "rows"}`, one below the other."""
    return "\n\n".join(f"{table['title']}\n{format_table(table['columns'], table['rows'])}" for table in tables)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table that has rows."""
    if rows:
        print(format_table(columns, rows))
