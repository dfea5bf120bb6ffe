"""Length-controlled win rates of a board: our implementation compared with the alpaca_eval package.

    python benchmarks/length_control.py [--data FOLDER] [--models 116] [--repeats 3]

The board repeats the annotated models of the public data up to the requested size. Ours is the
default (exact) mode of `harness.suites.alpaca_eval2.length_control`; the peer is alpaca_eval's
`get_length_controlled_winrate` with its download replaced by the local df_gamed.csv (it would fetch
the file once per model) and without saving weights. Both receive prepared rows in memory. Times are
medians; memory is the peak of Python and numpy allocations in a separate run. The results are
compared. Set OMP_NUM_THREADS=1 for one thread each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

from harness.suites.alpaca_eval2.annotation_files import Annotations, read_annotations
from harness.suites.alpaca_eval2.length_control import Anchors, Rows, fit_board
from harness.suites.alpaca_eval2.metrics import read_reference

DATA = Path(os.environ.get("CRUCIBLE_DATA") or Path(__file__).parents[2] / "shared" / "data")


def ours(models: list[Rows], anchors: Anchors) -> list[float]:
    return [result.lc_win_rate for result in fit_board(models, anchors=anchors)]


def make_peer(gamed: Path) -> Callable[[list], list[float]] | None:
    """The package's function, or None if it is not installed."""
    try:
        from alpaca_eval.metrics import glm_winrate
    except ImportError as error:
        print(f"peer not available: {error}")
        return None
    glm_winrate.hf_hub_download = lambda **_: str(gamed)

    def peer(frames: list) -> list[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [
                glm_winrate.get_length_controlled_winrate(
                    frame,
                    save_weights_dir=None,
                    is_add_glm_preference_inplace=False,
                    is_warn_extreme_changes=False,
                )["length_controlled_winrate"]
                for frame in frames
            ]

    return peer


def frame_of(item: Annotations) -> object:
    """The package's input; it measures answers itself, so texts of the right length are made."""
    import pandas as pd

    return pd.DataFrame(
        {
            "preference": 1 + item.preferences,
            "output_1": ["x" * int(n) for n in item.baseline_lengths],
            "output_2": ["x" * int(n) for n in item.model_lengths],
            "generator_1": item.baseline,
            "generator_2": item.model,
            "annotator": item.judge,
        }
    )


def measure(run: Callable[[], list[float]], repeats: int) -> tuple[list[float], list[float], float]:
    """Result, seconds of each repeat, and peak memory (MiB) of one additional run."""
    run()  # warm-up: imports, caches
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - started)
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return result, seconds, peak


def report(name: str, seconds: list[float], peak: float, size: int) -> float:
    per_model = 1000 * statistics.median(seconds) / size
    spread = f"{1000 * min(seconds) / size:.2f} to {1000 * max(seconds) / size:.2f}"
    print(f"{name:34} {per_model:9.2f} ms/model ({spread})   peak {peak:7.1f} MiB")
    return per_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--models", type=int, default=116)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-repeats", type=int, default=1)
    options = parser.parse_args()
    folder = options.data / "alpaca_eval2"
    reference = read_reference(folder)
    found = [i for i in read_annotations(folder) if i.model != i.baseline]
    board = [found[k % len(found)] for k in range(options.models)]
    models = [
        Rows(i.preferences, i.model_lengths, i.baseline_lengths, reference.difficulty[: len(i.ids)])
        for i in board
    ]
    print(f"{len(board)} models ({len(found)} different), 805 instructions, 10 x 5 CV fits each")
    result, seconds, peak = measure(lambda: ours(models, reference.anchors), options.repeats)
    own = report("ours, exact", seconds, peak, len(board))
    peer = make_peer(folder / "df_gamed.csv")
    if peer is None:
        return
    frames = [frame_of(item) for item in board]
    theirs, seconds, peak = measure(lambda: peer(frames), options.peer_repeats)
    other = report("peer, alpaca_eval package", seconds, peak, len(board))
    gap = max(abs(a - b) for a, b in zip(result, theirs))
    print(f"ratio peer / ours: {other / own:.1f}; largest LC difference {gap:.3f} points")


if __name__ == "__main__":
    main()
