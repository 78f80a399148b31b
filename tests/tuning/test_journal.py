"""The journal of a tuning: the same draws whatever happens, lines that were torn, medians, and journals of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.tuning.journal import LEAST_BEFORE_PRUNING, Journal, Study
from bench.tuning.space import Dimension
from bench.tuning.trials import Trial, best_of

LR = Dimension("optimizer.lr", (), 1e-4, 1e-1, True, False, {})
UNITS = Dimension("model.hidden_size", (), 4.0, 8.0, False, True, {})
KIND = Dimension("optimizer", ("adam", "sgd"), 0.0, 0.0, False, False, {})
MOMENTUM = Dimension("optimizer.momentum", (0.0, 0.9), 0.0, 0.0, False, False, {"optimizer": ("sgd",)})
DIMENSIONS = (KIND, LR, MOMENTUM, UNITS)


def study_of(folder: Path, name: str = "one") -> Study:
    study = Journal(folder).study(name, "lower", {"steps": 6})
    assert study is not None
    return study


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_same_draws_at_once_or_by_process_after_process(tmp_path: Path, sampler: str):
    for name, whole in (("a", True), ("b", False)):
        study = study_of(tmp_path / name)
        for number in range(14):
            study = study if whole else study_of(tmp_path / name)
            study.draw(DIMENSIONS, sampler)
            if number % 3:
                study.tell(number, "complete", study.trials[number].values["optimizer.lr"])
    one, other = (study_of(tmp_path / name).trials for name in "ab")
    assert one == other
    assert len({each.values["optimizer.lr"] for each in one}) == 14
    for trial in one:
        assert ("optimizer.momentum" in trial.values) == (trial.values["optimizer"] == "sgd")
        assert 1e-4 <= trial.values["optimizer.lr"] <= 1e-1
        assert trial.values["model.hidden_size"] in range(4, 9)
    assert [each.state for each in one[:3]] == ["open", "complete", "complete"]


def test_random_draws_are_those_of_other_cells_and_are_spread(tmp_path: Path):
    first, second = study_of(tmp_path), study_of(tmp_path, "two")
    for _ in range(40):
        first.draw((KIND, LR), "random")
        second.draw((KIND, LR, UNITS), "random")
    pairs = [({key: each.values[key] for key in ("optimizer", "optimizer.lr")}, other.values)
             for each, other in zip(first.trials, second.trials, strict=True)]  # fmt: skip
    assert all(mine.items() <= theirs.items() for mine, theirs in pairs)
    assert 10 <= sum(mine["optimizer"] == "adam" for mine, _ in pairs) <= 30
    assert 10 <= sum(mine["optimizer.lr"] < 1e-2**1.25 for mine, _ in pairs) <= 30


def test_a_line_that_was_torn_is_cut(tmp_path: Path):
    study = study_of(tmp_path)
    study.draw((LR,), "random")
    before = study.trials
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"x","study')
    again = study_of(tmp_path)
    assert again.trials == before
    again.draw((LR,), "random")
    assert len(study_of(tmp_path).trials) == 2


def test_a_trial_is_told_once(tmp_path: Path):
    study = study_of(tmp_path)
    for _ in range(3):
        study.draw((LR,), "random")
    study.tell(0, "complete", 0.5)
    study.tell(0, "complete", 0.1)
    study.tell(1, "failed", None)
    assert [(each.state, each.score) for each in study.trials] == [("complete", 0.5), ("failed", None), ("open", None)]
    assert best_of(study.trials, "lower") == study.trials[0]


def test_the_best_is_the_first_of_equals_and_never_one_that_was_pruned():
    trials = [Trial(0, "pruned", {}, 9.0), Trial(1, "complete", {}, 2.0), Trial(2, "complete", {}, 2.0),
              Trial(3, "complete", {}, 1.0), Trial(4, "failed", {}, None)]  # fmt: skip
    assert best_of(trials, "higher") == trials[1]
    assert best_of(trials, "lower") == trials[3]
    assert best_of(trials[:1], "lower") is None


def test_a_trial_behind_the_median_of_those_before_is_bad(tmp_path: Path):
    study = study_of(tmp_path)
    for number in range(LEAST_BEFORE_PRUNING + 2):
        study.draw((LR,), "random")
        scores = [float(number), float(number + 1)]
        if number < LEAST_BEFORE_PRUNING:
            assert not study.is_bad(number, scores[:1])
            study.is_bad(number, scores)
            study.tell(number, "complete", sum(scores) / 2)
    # Those before had 0, 1, 2, 3 and 4 after one seed.
    assert study.is_bad(LEAST_BEFORE_PRUNING, [2.5])
    assert not study.is_bad(LEAST_BEFORE_PRUNING + 1, [1.5])


def test_a_journal_of_something_else(tmp_path: Path):
    study_of(tmp_path)
    assert study_of(tmp_path).trials == []
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Journal(tmp_path).study("one", "lower", {"steps": 7})
    assert str(error.value) == (
        f"{tmp_path}/journal.log must be the journal of this tuning: one was searched with steps=6, got 7; use another "
        f"results_dir, or delete {tmp_path}"
    )
    before = (tmp_path / "journal.log").read_bytes()
    reader = Journal(tmp_path, reads_only=True)
    assert reader.study("one", "lower", {"steps": 6}) is not None
    assert reader.study("two", "lower", {"steps": 6}) is None
    assert (tmp_path / "journal.log").read_bytes() == before
    (tmp_path / "journal.log").write_text("no journal\nat all\n")
    with pytest.raises(ValueError, match=r"journal\.log must be the journal of a tuning, and cannot be read$"):
        Journal(tmp_path)
    assert Journal(tmp_path / "nowhere", reads_only=True).study("one", "lower", {}) is None
    assert not (tmp_path / "nowhere").exists()
