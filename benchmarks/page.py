"""Size of the page that ``bench page`` makes of 200, 1,000 and 10,000 runs, and the seconds to make and to open it.

The runs are those of :mod:`benchmarks.reading`. Each round makes the page by the command, in a process of its own that
finds an empty cache, and opens it in a new window of Chromium, without a network, until the first picture of the whole
page is drawn. The script writes ``benchmarks/page.json``.

    python -m benchmarks.page --rounds 3
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.reading import ROOT, copy_runs

SIZES = (200, 1000, 10000)
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def made(runs: Path, page: Path) -> float:
    """Return the seconds that the command takes."""
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        words = [sys.executable, "-m", "bench", "page", str(runs), "-o", str(page)]
        subprocess.run(words, cwd=ROOT, env={**os.environ, "XDG_CACHE_HOME": cache}, check=True, capture_output=True)
        return time.perf_counter() - started


def opened(browser: Browser, page: Path) -> float:
    """Return the seconds until all is drawn."""
    window = browser.new_context(offline=True, viewport={"width": 1300, "height": 900}).new_page()
    started = time.perf_counter()
    window.goto(page.as_uri())
    window.wait_for_selector("html[data-ready]", state="attached")
    window.evaluate(DRAWN)
    taken = time.perf_counter() - started
    window.context.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description="size of the page, and the seconds to make and to open it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parsed = parser.parse_args()
    from bench.training.process import processor_name

    rows: list[dict[str, Any]] = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened(browser, ROOT / "results" / "page.html")  # The first window takes longer.
        for n in parsed.sizes:
            runs, page = Path(folder, str(n)), Path(folder, f"{n}.html")
            copy_runs(n, runs)
            load = round(os.getloadavg()[0], 1)
            making = [round(made(runs, page), 2) for _ in range(parsed.rounds)]
            opening = [round(opened(browser, page), 2) for _ in range(parsed.rounds)]
            content = page.read_bytes()
            rows.append({
                "runs": n,
                "bytes": len(content),
                "bytes_zipped": len(gzip.compress(content, mtime=0)),
                "make_median": statistics.median(making),
                "open_median": statistics.median(opening),
                "make": making,
                "open": opening,
                "load_before": load,
            })  # fmt: skip
            print(rows[-1], flush=True)
        result = {
            "what": "bytes of the page of bench page; seconds to make it and to open it in Chromium",
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "chromium": browser.version,
            "rows": rows,
        }
        browser.close()
    (ROOT / "benchmarks" / "page.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
