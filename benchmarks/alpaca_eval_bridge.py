"""The alpaca-eval package and Crucible judge the same answers with the same server.

    python benchmarks/alpaca_eval_bridge.py [--data FOLDER] [--system NAME] [--limit N]

The package (0.6.6, in a separate process) uses the nano server in place of OpenAI and evaluates
stored answers to the 805 instructions with its default annotator. Our side is the suite
alpaca_eval2 on its official question set with the same annotator, judge and stored answers, as run
by `crucible eval`. All preferences, the win rate, and the length-controlled win rate (our mode
"compat-stable") are compared.

The package creates a new client for every request, five at a time, which dominates its time. Its
only download, df_gamed.csv, is replaced by the local copy. FOLDER is the public data folder with
alpaca_eval2 (default: $CRUCIBLE_DATA).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.engine.store import Store
from harness.nano.oracle import OracleSettings
from harness.nano.server import NanoServer
from harness.reproduce import evaluate

SUITE, ANNOTATOR = "alpaca_eval2", "weighted_alpaca_eval_gpt4_turbo"
MODE = f"{SUITE}.lc_mode=compat-stable"
BASELINE, SYSTEM = "gpt4_1106_preview_baseline", "FuseChat-Llama-3.2-1B-Instruct"
GRADED = OracleSettings(unknown="generic")  # the instructions are not of the nano world


@dataclass(frozen=True)
class Pair:
    """An instruction with the baseline's and the system's answer."""

    instruction: str
    baseline: str
    answer: str


@dataclass(frozen=True)
class Outcome:
    """Results of one side: probabilities in [0, 1] by instruction, and win rates in %."""

    preferences: dict[str, float]
    win_rate: float
    length_controlled: float | None = None


def read_pairs(folder: Path, system: str = SYSTEM, limit: int | None = None) -> list[Pair]:
    """The first `limit` instructions of the public data with both answers."""

    def lines(name: str) -> list[dict[str, Any]]:
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
            return [json.loads(line) for line in stream]

    key = "instruction_sha256_16"
    baseline, answers = (
        {row[key]: row["output"] for row in lines(f"outputs_{name}")} for name in (BASELINE, system)
    )
    instructions = sorted(lines("instructions"), key=lambda row: row["index"])[:limit]
    return [Pair(row["instruction"], baseline[row[key]], answers[row[key]]) for row in instructions]


def package_side(pairs: Sequence[Pair], url: str, work: Path, gamed: Path | None = None) -> Outcome:
    """The package's results, computed in a separate process with the server at `url`.

    Args:
        work: an empty folder for its input, cache and output.
        gamed: df_gamed.csv, which adds the length-controlled win rate.
    """
    (work / "pairs.json").write_text(json.dumps([asdict(pair) for pair in pairs]))
    environment = {
        **os.environ,
        "OPENAI_API_BASE": url,
        "OPENAI_API_KEY": "not-asked-for",
        "OPENAI_CLIENT_CONFIG_PATH": str(work / "absent.yaml"),
        "NO_PROXY": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
    }
    arguments = [sys.executable, __file__, "--package-side", str(work)]
    if gamed is not None:
        arguments += ["--gamed", str(gamed)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the package failed:\n{done.stderr[-4000:]}")
    return Outcome(**json.loads((work / "outcome.json").read_text()))


def _evaluate_with_package(work: Path, gamed: Path | None) -> None:
    """The process of `package_side`: reads pairs.json, writes outcome.json."""
    import alpaca_eval
    from alpaca_eval.metrics import glm_winrate

    pairs = [Pair(**row) for row in json.loads((work / "pairs.json").read_text())]
    baseline = [_output(pair.instruction, pair.baseline, "baseline") for pair in pairs]
    answers = [_output(pair.instruction, pair.answer, "system") for pair in pairs]
    glm_winrate.hf_hub_download = lambda **_: str(gamed)
    controlled = gamed is not None
    board, annotations = alpaca_eval.evaluate(
        model_outputs=answers,
        reference_outputs=baseline,
        annotators_config=ANNOTATOR,
        name="system",
        output_path=None,
        caching_path=work / "annotations.json",
        precomputed_leaderboard=None,
        is_return_instead_of_print=True,
        fn_metric="get_length_controlled_winrate" if controlled else "get_winrate",
        metric_kwargs={"save_weights_dir": None} if controlled else None,
        sort_by="win_rate",
    )
    row = board.loc["system"]
    outcome = {
        "preferences": {note["instruction"]: note["preference"] - 1 for note in annotations},
        "win_rate": float(row["win_rate"]),
        "length_controlled": float(row["length_controlled_winrate"]) if controlled else None,
    }
    (work / "outcome.json").write_text(json.dumps(outcome))


def _output(instruction: str, output: str, generator: str) -> dict[str, str]:
    return {"instruction": instruction, "output": output, "generator": generator}


def own_side(
    outputs: Path,
    url: str,
    work: Path,
    *overrides: str,
    data: str = "official",
    limit: int | None = None,
) -> Outcome:
    """Crucible's results: `crucible eval OUTPUTS --suite alpaca_eval2` with the judge at `url`.

    Args:
        outputs: the system's stored answers.
        work: a folder for the store.
        overrides: settings, as "alpaca_eval2.key=value".
        data: edition; the official one needs $CRUCIBLE_DATA.
    """
    judge = f"openai:nano-oracle@{url}"
    made = evaluate(
        str(outputs), SUITE, judge=judge, edition=data, overrides=overrides, limit=limit
    )
    store = Store(work)
    made.run(store)
    found = {cell.metric: cell for cell in made.cells}
    raw, controlled = found["win_rate"], found["lc_win_rate"]
    if raw.value is None or raw.n_failed:
        raise RuntimeError(f"{raw.n_failed} judgments failed: {raw.details}")
    rows = store.artifact(raw.artifacts["judgments"]).rows()
    preferences = {row["prompt"]: row["preference"] for row in rows}
    return Outcome(preferences, raw.value, controlled.value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("CRUCIBLE_DATA")
    parser.add_argument("--data", type=Path, default=Path(default) if default else None)
    parser.add_argument("--system", default=SYSTEM)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--package-side", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--gamed", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.package_side is not None:
        _evaluate_with_package(options.package_side, options.gamed)
        return
    if options.data is None:
        parser.error("the public data folder is missing: give --data FOLDER or set CRUCIBLE_DATA")
    os.environ["CRUCIBLE_DATA"] = str(options.data)
    folder = options.data / "alpaca_eval2"
    pairs = read_pairs(folder, options.system, options.limit)
    outputs = folder / f"outputs_{options.system}.jsonl.gz"
    with tempfile.TemporaryDirectory() as work, NanoServer(GRADED, model="*") as server:
        started = time.perf_counter()
        package = package_side(pairs, server.url, Path(work), folder / "df_gamed.csv")
        package_s, asked = time.perf_counter() - started, server.counts()["ok"]
        started = time.perf_counter()
        own = own_side(outputs, server.url, Path(work) / "store", MODE, limit=options.limit)
        own_s, counts = time.perf_counter() - started, server.counts()
    gaps = [abs(own.preferences[text] - value) for text, value in package.preferences.items()]
    print(f"{len(pairs)} instructions, {options.system}")
    print(f"requests answered: {asked} and {counts['ok'] - asked}; all: {counts}")
    print(f"package  {package_s:7.2f} s  WR {package.win_rate:.9f}  LC {package.length_controlled}")
    print(f"crucible {own_s:7.2f} s  WR {own.win_rate:.9f}  LC {own.length_controlled}")
    print(f"largest difference of {len(gaps)} preferences: {max(gaps):.3g}")


if __name__ == "__main__":
    main()
