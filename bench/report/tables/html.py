"""A table in HTML. Pure."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

from bench.report.tables.grid import Entry, Grid


def html_page(grids: Sequence[Grid]) -> str:
    """Write tables as one page that needs no other file."""
    title = html.escape(textwrap.shorten(grids[0].caption, 60, placeholder=" ..."))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n{html_tables(grids)}</html>\n"
    )


def html_tables(grids: Sequence[Grid]) -> str:
    """Return the tables alone, for a page that is there already."""
    return "".join(map(_html_table, grids))


def _html_table(grid: Grid) -> str:
    side = ["left" if i in grid.left else "right" for i in range(len(grid.header))]
    head = "".join(f'<th class="{side[i]}">{html.escape(text)}</th>' for i, text in enumerate(grid.header))
    rows = []
    for number, row in enumerate(grid.rows):
        cells = "".join(f'<td class="{side[i]}">{_html_cell(entry)}</td>' for i, entry in enumerate(row))
        rule = " class=rule" if number in grid.rules else ""
        if number in grid.headings:
            text = html.escape(grid.headings[number])
            rows.append(f'<tr{rule}><th class="left" colspan="{len(row)}">{text}</th></tr>')
            rule = ""
        rows.append(f"<tr{rule}>{cells}</tr>")
    items = [html.escape(note) for note in grid.notes]
    items += [f"{mark}: <code>{html.escape(command)}</code>" for mark, each in grid.commands for command in each]
    below = "".join(f"<li>{item}</li>\n" for item in items)
    body = "\n".join(rows)
    return (
        f"<table>\n<caption>{html.escape(grid.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>\n<ul>\n{below}</ul>\n"
    )


_STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
    "caption{text-align:left;padding-bottom:.6em}"
    "th,td{padding:.25em .8em;vertical-align:top;font-variant-numeric:tabular-nums}"
    "thead th{border-bottom:1px solid}tr.rule>*{border-top:1px solid #999}"
    ".left{text-align:left}.right{text-align:right;white-space:nowrap}small{color:#555}"
    "ul{font-size:.87em;padding-left:1.2em}code{overflow-wrap:anywhere}"
)


def _html_cell(entry: Entry) -> str:
    lines = [html.escape(line) for line in entry.lines]
    text = "<br>".join([*lines[:1], *(f"<small>{line}</small>" for line in lines[1:])])
    return f"<b>{text}</b>" if entry.best and text else text
