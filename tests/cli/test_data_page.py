"""docs/data.md: every file and every command that it shows works as it stands, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, Bench, Outcome

PAGE = (ROOT / "docs" / "data.md").read_text()
FILES = dict(re.findall(r"`([\w./]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))
SHELL = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]


def called(bench: Bench, line: str) -> Outcome:
    """Run a line as a shell would."""
    first, *words = shlex.split(line)
    assert first == "bench"
    outcome = bench.call(*(each for word in words for each in (_shown(word) if "*" in word else [word])))
    assert outcome.code == 0, outcome.err
    return outcome


def _shown(pattern: str) -> list[str]:
    """The places that a shell puts in the place of a pattern, which are never hidden ones."""
    return sorted(str(path) for path in Path().glob(pattern) if not path.name.startswith("."))


@pytest.mark.first
def test_the_page(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content)
    assert set(FILES) == {"files.py", "make_flips.py", "mine/flips.py", "mine/task/flips.yaml"}
    for name in ("files.py", "make_flips.py"):
        exec(compile(FILES[name], name, "exec"), {})
    runs, uses, looks, own = SHELL
    for line in runs:
        assert re.search(r": (un)?solved at step \d+, test ", called(bench, line).out)
    forecast, found, classes, bits, text = [called(bench, line) for line in uses]
    assert [line.partition(",")[0] for line in forecast.out.splitlines()] == ["step", "1", "2", "3"]
    assert (found.out, bits.out) == ("", "")
    table = pd.read_csv("found.csv")
    assert list(table.columns) == ["sequence", "class", "probability left", "probability right"]
    assert len(table) == 60
    assert len(classes.out.splitlines()) == 61
    assert bits.err.endswith(" bits a character, over 1499 characters\n")
    assert len(text.out) == 20 + 40 + 1
    assert text.out.startswith("round and round it g")
    pictures = [called(bench, line).out.split() for line in looks]
    assert [[Path(path).suffix for path in each] for each in pictures] == 2 * [[".pdf", ".png", ".csv"]]
    assert set(pd.read_csv(pictures[0][2])["token"]) <= {"a", "and", "dull", "fine", "film", "long", "new", "short"}
    assert "".join(pd.read_csv(pictures[1][2])["token"][:20]) == "round and round it g"
    (python,) = re.findall(r"The same from Python:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(python, "page", "exec"), {})
    printed = capsys.readouterr().out
    assert "SequenceModel(" in printed
    assert "probability bad" in printed
    for line in own:
        called(bench, line)
    assert list(pd.read_csv("heads.csv").columns) == ["row", "class", "probability tails", "probability heads"]
