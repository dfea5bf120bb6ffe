"""Literal tables: benchmark lists of the papers, and the folders of their tasks in lm-eval.

With the folders, lm-eval's fourteen thousand task files need not be scanned (15 to 50 s). Metrics
are named "metric,filter", as in lm-eval.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TaskList:
    """A named list of benchmarks.

    Attributes:
        headline: primary metric by task or group; other metrics are secondary.
        averages: members of each macro average, by name; "bbh/*" means the tasks of a group.
        absent: reason, by benchmark of the paper that lm-eval does not have.
    """

    headline: dict[str, str]
    averages: dict[str, tuple[str, ...]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks and groups."""
        return tuple(self.headline)


@dataclass(frozen=True)
class Benchmark:
    """One line of a paper's list of benchmarks.

    Attributes:
        run_by: Crucible's suite and its task; "" if it cannot be run.
        unit: unit of the score in the paper.
        needs: requirements besides a model.
        offline: requirements for a run without network; "" if that is impossible.
    """

    name: str
    run_by: str
    unit: str
    needs: str
    offline: str = "its data, as files or in the hub's cache"


_COMMONSENSE = ("arc_easy", "arc_challenge", "boolq", "hellaswag", "openbookqa")

FUSELLM = TaskList(
    headline={
        "bbh": "exact_match,get-answer",
        "arc_easy": "acc_norm,none",
        "arc_challenge": "acc_norm,none",
        "boolq": "acc,none",
        "hellaswag": "acc_norm,none",
        "openbookqa": "acc_norm,none",
        "triviaqa": "exact_match,remove_whitespace",
        "drop": "f1,none",
        "lambada_openai": "acc,none",
    },
    # The paper's averages: of 27 BBH tasks, and of five common-sense benchmarks.
    averages={"bbh_average": ("bbh/*",), "commonsense": _COMMONSENSE},
    absent={
        "iwslt2017": "lm-eval has only ar-en and en-ar; the paper's pairs need task files of "
        "one's own (include)",
        "multipl_e": "not in lm-eval: the paper ran bigcode-evaluation-harness",
        "scibench": "not in lm-eval: the paper ran OpenCompass",
    },
)

FUSECHAT3 = TaskList(
    headline={
        "gsm8k_cot_zeroshot": "exact_match,flexible-extract",
        "hendrycks_math": "exact_match,none",
        "crucible_amc23": "exact_match,none",
        "aime24": "exact_match,none",
        "crucible_fusechat_mmlu_pro": "exact_match,chosen",
        "crucible_fusechat_mmlu_redux": "exact_match,chosen",
        "crucible_fusechat_gpqa_diamond": "exact_match,chosen",
        "humaneval_instruct": "pass@1,create_test",
        "mbpp_instruct": "pass_at_1,extract_code",
    },
    averages={
        "average": (  # tasks in both this list and the paper's average, which lacks AIME
            "gsm8k_cot_zeroshot",
            "hendrycks_math",
            "crucible_amc23",
            "crucible_fusechat_mmlu_pro",
            "crucible_fusechat_mmlu_redux",
            "crucible_fusechat_gpqa_diamond",
            "humaneval_instruct",
            "mbpp_instruct",
        )
    },
    absent={
        "livecodebench": "not in lm-eval: has a runner of its own",
        "livebench": "not in lm-eval: has a runner of its own",
        "alignbench": "not in lm-eval: a Chinese benchmark with a judge",
    },
)

_OPTIONS = "lm_fusechat3: crucible_fusechat_"
_JUDGED = "its data and a judge on this machine, or stored verdicts"
_RUNS_CODE = "allow_code_execution"

# The paper's averages mix scores from 1 to 10 with percentages.
BENCHMARKS = {
    "fusechat3": (
        Benchmark("AlpacaEval-2", "alpaca_eval2", "%", "judge gpt-4-1106-preview", _JUDGED),
        Benchmark("Arena-Hard", "arena_hard_v0.1", "%", "judge gpt-4-1106-preview", _JUDGED),
        Benchmark("MT-Bench", "mt_bench", "1 to 10", "judge gpt-4-0125-preview", _JUDGED),
        Benchmark("AlignBench v1.1", "", "1 to 10", "judge gpt-4 (undated), Chinese", ""),
        Benchmark("GSM8K", "lm_fusechat3: gsm8k_cot_zeroshot", "%", ""),
        Benchmark("MATH", "lm_fusechat3: hendrycks_math", "%", ""),
        Benchmark("AMC 23", "lm_fusechat3: crucible_amc23", "%", "a file", "the file"),
        Benchmark("LiveBench 0831", "", "%", "a separate runner", ""),
        Benchmark("MMLU-Pro", f"{_OPTIONS}mmlu_pro", "%", ""),
        Benchmark("MMLU-redux", f"{_OPTIONS}mmlu_redux", "%", ""),
        Benchmark("GPQA-Diamond", f"{_OPTIONS}gpqa_diamond", "%", "access to gated data"),
        Benchmark("HumanEval", "lm_fusechat3: humaneval_instruct", "%", _RUNS_CODE),
        Benchmark("MBPP", "lm_fusechat3: mbpp_instruct", "%", _RUNS_CODE),
        Benchmark("LiveCodeBench", "", "%", "a separate runner; 2024-06-30 onwards", ""),
    )
}

NANO = TaskList(
    headline={
        "crucible_nano_facts": "acc,none",
        "crucible_nano_skills": "acc,none",
        "crucible_nano_answers": "exact_match,answer-line",
    },
    averages={"average": ("crucible_nano_facts", "crucible_nano_skills", "crucible_nano_answers")},
)

# Task or group -> folder below lm_eval/tasks.
FOLDERS = {
    "bbh": "bbh/cot_fewshot",
    "arc_easy": "arc",
    "arc_challenge": "arc",
    "boolq": "super_glue/boolq",
    "hellaswag": "hellaswag",
    "openbookqa": "openbookqa",
    "triviaqa": "triviaqa",
    "drop": "drop",
    "lambada_openai": "lambada",
    "gsm8k": "gsm8k",
    "gsm8k_cot": "gsm8k",
    "gsm8k_cot_zeroshot": "gsm8k",
    "hendrycks_math": "hendrycks_math",
    "hendrycks_math500": "hendrycks_math",
    "aime24": "aime",
    "aime25": "aime",
    "humaneval": "humaneval",
    "humaneval_instruct": "humaneval",
    "mbpp": "mbpp",
    "mbpp_instruct": "mbpp",
    "mmlu": "mmlu/default",
    "mmlu_pro": "mmlu_pro",
    "gpqa_diamond_cot_zeroshot": "gpqa/cot_zeroshot",
    "ifeval": "ifeval",
    "truthfulqa_mc1": "truthfulqa",
    "truthfulqa_mc2": "truthfulqa",
    "winogrande": "winogrande",
    "piqa": "piqa",
    "commonsense_qa": "commonsense_qa",
}

# Task of Crucible -> lm-eval file with its prompt and metric, and the rows its data must have.
# These tasks have no data set; `data` must name a file.
DERIVED = {"crucible_amc23": ("aime/aime25.yaml", 'rows with "problem" and "answer"')}

# Metrics in [0, 1], shown in per cent.
SHARES = frozenset(
    {
        "acc",
        "acc_norm",
        "acc_bytes",
        "acc_mutual_info",
        "em",
        "exact_match",
        "f1",
        "math_verify",
        "mc1",
        "mc2",
        "pass@1",
        "pass_at_1",
        "prompt_level_loose_acc",
        "prompt_level_strict_acc",
        "inst_level_loose_acc",
        "inst_level_strict_acc",
    }
)

UNITS = {"perplexity": "ppl", "word_perplexity": "ppl", "byte_perplexity": "ppl"}
