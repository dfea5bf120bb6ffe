"""Growth of time and memory: exponents of stages, boards, pages, alignment and teachers.

    python benchmarks/growth engine|boards|pages|alignment|teachers|candidates [--sizes 1000,10000]
        [--repeats 3] [--only NAME] [--folder FOLDER]
    python benchmarks/growth wrpo [--prompts 60000] [--sources 10] [--samples 5] [--no-training]
        [--folder FOLDER]

Prints a Markdown table. Every figure is that of a child process: CPU seconds (median of the
repeats; the largest size runs once) and peak memory above what was in use before. The exponent is
that of a least-squares line through the logarithms of size and CPU time. `wrpo` runs the stages of
WRPO that are no model's on synthetic answers; `--folder` is where its files go.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from measuring import BENCHMARKS, Case, measure, report

PARTS = {
    "engine": "of_stages",
    "boards": "of_boards",
    "pages": "of_pages",
    "alignment": "of_alignment",
    "teachers": "of_teachers",
    "candidates": "of_candidates",
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("part", choices=(*PARTS, "wrpo"))
    made.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")])
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--only", action="append", help="Name of a case; repeatable.")
    made.add_argument("--folder", type=Path)
    made.add_argument("--prompts", type=int, default=60_000)
    made.add_argument("--sources", type=int, default=10)
    made.add_argument("--samples", type=int, default=5)
    made.add_argument("--no-training", action="store_true", help="Of wrpo, leave out trainings.")
    made.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    return made


def main() -> None:
    sys.path.insert(1, str(BENCHMARKS))  # peak_memory.py
    options = parser().parse_args()
    if options.part == "wrpo":
        from of_wrpo import measure_stage, run

        if options.child:
            print(json.dumps(measure_stage(options)))
        else:
            run(options)
        return
    cases: dict[str, Case] = import_module(PARTS[options.part]).CASES
    if options.child:
        name, size, folder = options.child
        print(json.dumps(measure(cases[name], int(size), Path(folder))))
    else:
        report(options.part, cases, options)


if __name__ == "__main__":
    main()
