"""Size of pages, time to write them, and time until a browser can use them.

    python benchmarks/pages.py [--systems 30] [--suites 6] [--prompts 80] [--samples 1610]
        [--pairs 805] [--words 150] [--out FOLDER]

Writes a published board of synthetic systems (judgments as operations store them, scored by the
suites), the page of one suite with `--samples` samples, and a page of two systems side by side on
`--pairs` prompts, and opens the three in chromium: `ready` is the time on the page's own clock when
its script has listed what it shows. Bars: ready within 1 s, no console message, and no request.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from leaderboards.compare import compare_systems
from leaderboards.render.pairs import render as render_pairs
from leaderboards.render.samples import render as render_samples
from leaderboards.samples import pair_samples, samples_of_cell
from leaderboards.site import write_site
from leaderboards.spec import BoardSpec
from tests.published import judged_systems, system_name

SUITES = ("alpaca_eval2", "arena_hard", "mt_bench", "arena_hard_v2", "mt_bench_v2", "arena_hard_v3")
BAR = 1000  # milliseconds


def opened(page: Path, repeats: int = 3) -> tuple[list[int], list[str], list[str]]:
    """Ready times in ms, console messages, and addresses that the page requested, in chromium."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("needs chromium")
    ready, said, asked = [], set(), set()
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as profile:
            log = Path(profile) / "net.json"
            command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
            command += ["--disable-background-networking", "--disable-component-update"]
            command += ["--disable-sync", "--enable-logging=stderr", f"--log-net-log={log}"]
            command += [f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
            done = subprocess.run(command, capture_output=True, timeout=120, check=True)
            found = re.search(r'data-ready="(\d+)"', done.stdout.decode("utf-8", "replace"))
            ready.append(int(found[1]) if found else -1)
            said |= set(re.findall(r"CONSOLE.*", done.stderr.decode("utf-8", "replace")))
            asked |= requested(log)
    return ready, sorted(said), sorted(asked)


def requested(log: Path) -> set[str]:
    """Addresses that pages requested, from the browser's network log; not its own requests."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    found = re.findall(r'"initiator":"([^"]*)".*"url":"([^"]*)"', text)
    return {address for initiator, address in found if initiator != "not an origin"}


def check_detection(folder: Path) -> None:
    """Stop unless a page that loads and complains is noticed to do so."""
    page = folder / "leak.html"
    page.write_text("<img src=http://127.0.0.1:9/leak.png><script>console.error('x')</script>")
    _, said, asked = opened(page, 1)
    if not said or not any("leak.png" in address for address in asked):
        raise SystemExit(f"a page that leaks was not noticed: {said}, {asked}")
    page.unlink()


def report(name: str, page: Path) -> bool:
    ready, said, asked = opened(page)
    size = page.stat().st_size / 1e6
    print(
        f"{name:<28} {size:6.2f} MB  ready {ready} ms  console {said}  requests {asked}", flush=True
    )
    return 0 <= sorted(ready)[len(ready) // 2] < BAR and not said and not asked


def main() -> None:
    parser = argparse.ArgumentParser()
    for option, default in (
        ("systems", 30), ("suites", 6), ("prompts", 80), ("samples", 1610), ("pairs", 805),
        ("words", 150),
    ):  # fmt: skip
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = (args.out or Path(tempfile.mkdtemp())).absolute()
    out.mkdir(parents=True, exist_ok=True)
    good = []
    check_detection(out)

    start = time.perf_counter()
    store, cells = judged_systems(
        out / "store", systems=args.systems, prompts=args.prompts, suites=SUITES[: args.suites],
        words=args.words,
    )  # fmt: skip
    print(f"judgments and cells made in {time.perf_counter() - start:.0f} s")
    start = time.perf_counter()
    spec = BoardSpec(name="synthetic", title=f"{args.systems} systems on {args.suites} suites")
    site = write_site(out / "site", spec, cells, store=store)
    print(
        f"site: {site.pages} pages, {site.linked} of {site.scores} scores linked, "
        f"{site.bytes / 1e6:.0f} MB, written in {time.perf_counter() - start:.1f} s"
    )
    good.append(report("front page", site.folder / "index.html"))

    store, cells = judged_systems(
        out / "long", systems=1, prompts=args.samples, suites=("arena_hard",), words=args.words
    )
    start = time.perf_counter()
    page = out / "samples.html"
    page.write_text(render_samples(samples_of_cell(store, cells[0])), encoding="utf-8")
    print(f"page of {args.samples} samples written in {time.perf_counter() - start:.1f} s")
    good.append(report(f"{args.samples} samples", page))

    store, cells = judged_systems(
        out / "pairs", systems=2, prompts=args.pairs, suites=("alpaca_eval2",), words=args.words
    )
    names = [system_name(number) for number in (0, 1)]
    own = [next(c for c in cells if (c.system, c.metric) == (n, "win_rate")) for n in names]
    start = time.perf_counter()
    found = pair_samples(*(samples_of_cell(store, cell) for cell in own))
    page = out / "pairs.html"
    page.write_text(render_pairs(found, compare_systems(cells, *names)), encoding="utf-8")
    print(f"page of {args.pairs} pairs written in {time.perf_counter() - start:.1f} s")
    good.append(report(f"{args.pairs} pairs", page))
    print(json.dumps({"bars met": good}))


if __name__ == "__main__":
    main()
