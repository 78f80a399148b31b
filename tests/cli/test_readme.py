"""README and documentation show what the published records give, and the commands that they name work."""

from __future__ import annotations

import ast
import json
import re
import shlex
import statistics
from pathlib import Path

from bench.analysis.run import read_exponents, read_reaches, read_runs
from bench.records.read import check_record, find_records, read_curves, read_record
from bench.report.tables.render import render
from benchmarks import report
from tests.conftest import ROOT, page

README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = ROOT / "results" / "demo"


def test_the_table_is_that_of_the_published_records():
    runs, damaged = read_runs(DEMO)
    assert (damaged, read_reaches(runs), read_exponents(runs)) == ([], [], [])
    assert len([run for run in runs if run.reach is not None]) == len(runs) == 18
    found = re.search(
        r"<!-- table: demo terminal -->\n```text\n(.*?)```\n<!-- end -->", page("ten_minutes.md"), re.DOTALL
    )
    assert found is not None
    assert found[1] == render(runs, "terminal")


def test_the_published_records_are_whole_and_name_no_place():
    for folder in find_records(DEMO):
        made = read_record(folder)
        curves = read_curves(folder)
        assert curves.num_rows == made.steps
        assert (made.experiment, made.config["results_dir"], made.code["dirty"]) == ("demo", "results", False)
        assert shlex.split(made.command)[:2] == ["bench", "run"]
        assert "+experiment=demo" in shlex.split(made.command)


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 120
    shown = set(re.findall(r"^(?:.* <)?(\w+)>?$", page("index.md"), re.MULTILINE))
    assert {each.stem for each in (ROOT / "docs").glob("*.md")} - {"index"} <= shown
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for shown, path in re.findall(r"(!?)\[[^]]*\]\((?!https?:)([^)#]+)", file.read_text(encoding="utf-8")):
            assert (file.parent / path).exists(), (file, path)
            assert not shown or (file.parent / path).read_bytes().startswith(b"\x89PNG")


def test_the_record_to_replay_is_there():
    (run,) = re.findall(r"^ *bench replay (results\S+)", README, re.MULTILINE)
    assert check_record(ROOT / run).status == "completed"


def test_the_speed_named_is_the_speed_measured():
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    times = {
        row["cell"]: {name: timing["median"] for name, timing in row["timings"].items()}
        for row in measured["peers"]["rows"]
        if row["case"] == "adding 600"
    }
    ours = {cell: each.pop("ours") for cell, each in times.items()}
    plain = {cell: each.pop("torch") / ours[cell] for cell, each in times.items()}
    others = {cell: min(each.values()) / ours[cell] for cell, each in times.items()}
    said = " ".join(page("engines.md").split())
    assert "takes {rnn:.1f} ms (RNN), {lstm:.1f} ms (LSTM) and {gru:.1f} ms (GRU)".format(**ours) in said
    assert "{rnn:.1f}, {lstm:.1f} and {gru:.1f} times as fast as the plain PyTorch loop".format(**plain) in said
    assert "{rnn:.1f}, {lstm:.1f} and {gru:.1f} times as fast as the fastest of".format(**others) in said
    large, small = measured["around"]["sizes"]
    times = [f"{each['bench_ms'] / each['bare_ms']:.2f} times" for each in (large, small)]
    assert f"{times[0]} as long as a bare loop where a step takes {large['bare_ms']:.1f} ms there" in said
    assert f"{times[1]} where it takes {small['bare_ms']:.1f} ms" in said
    ratios = sorted((*large["ratios"], *small["ratios"]))
    assert f"which lie between {ratios[0]:.2f} and {ratios[-1]:.2f}" in said


def test_the_cost_of_probes_and_the_gain_of_workers_are_those_measured():
    said = " ".join(page("engines.md").split())
    rows = json.loads((ROOT / "benchmarks" / "probes.json").read_text())["rows"]
    looks = {(row["cell"], row["length"]): f"{row['look_in_steps']:.1f}" for row in rows}
    short, long = ([looks[cell, length] for cell in ("rnn", "lstm", "gru")] for length in (100, 600))
    assert f"costs {short[0]} (RNN), {short[1]} (LSTM) and {short[2]} (GRU) training steps at length 100" in said
    assert f"and {long[0]}, {long[1]} and {long[2]} at length 600" in said
    (lstm,) = [row for row in rows if (row["cell"], row["length"]) == ("lstm", 600)]
    assert f"takes {lstm['flow_ms']:.0f} ms, and {lstm['plain_flow_ms']:.0f} ms step by step" in said
    assert f"The exponents of the same LSTM take {lstm['exponents_ms'] / 1000:.1f} s at each end of a run" in said
    through = json.loads((ROOT / "benchmarks" / "throughput.json").read_text())
    seconds = [statistics.median(through[f"{way}_seconds"]) for way in ("workers", "serial")]
    assert f"one thread each {seconds[0]:.0f} s, and one process of two threads {seconds[1]:.0f} s" in said
    assert f"{through['ratio']:.2f} times the runs an hour" in said
    one, beside, two = (f"{each:.1f} ms" for each in through["milliseconds_a_step"].values())
    assert f"takes {one} on one thread, {beside} on one thread beside another such process, and {two} on two" in said
    assert f"so that {through['ratio_of_steps']:.2f} is all there is to gain" in said
    shares = [made.time["probe_seconds"] / made.time["train_seconds"] for made in map(read_record, find_records(DEMO))]  # type: ignore[operator]
    assert f"pays {100 * min(shares):.1f} to {100 * max(shares):.1f} % of the training time" in said


def test_what_generated_code_takes_beside_that_by_hand_is_what_was_measured():
    said = " ".join(page("engines.md").split())
    rows = json.loads((ROOT / "benchmarks" / "results.json").read_text())["by hand"]["rows"]
    ratios = [[each["ratio"] for each in rows if size in ((each["length"], each["hidden"]), each["hidden"])]
              for size in (128, (200, 32), (20, 32))]  # fmt: skip
    large, long, short = (f"{min(each):.2f} to {max(each):.2f}" for each in ratios)
    assert f"With 128 units it takes {large} times as long as the C++ by hand" in said
    assert f"it takes {long} times as long at length 200 and {short} times at length 20" in said


def test_the_results_are_those_measured(tmp_path: Path):
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    report.write(measured, tmp_path)
    assert (tmp_path / "RESULTS.md").read_text() == (ROOT / "benchmarks" / "RESULTS.md").read_text()
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_results_of_several_machines_name_the_machine_of_each(tmp_path: Path):
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    for section in measured.values():
        section["machine"] = {
            **section["machine"],
            "processor": "one",
            "instructions": "AVX2",
            "torch": "2",
            "date": "2026-01-01",
        }
    measured["memory"]["machine"]["processor"] = "another"
    report.write(measured, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "different machines, which each of them names: compare within one.\n\n## Against others\n\nOn one, " in text
    assert "## Memory\n\nOn another, 2 cores, AVX2, Linux; torch 2; 2026-01-01.\n\nMiB at most" in text


def test_the_wings_are_those_of_the_contributing_page():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `bench/(\w+)/` \| (.+) \|$", page, re.MULTILINE)
    opening = {path.parent.name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
               for path in (ROOT / "bench").glob("*/__init__.py")}  # fmt: skip
    assert {wing: text.replace("`", "``") for wing, text in rows} == opening
