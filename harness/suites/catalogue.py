"""What this room registers: the benchmark suites and the operations they plan."""

from __future__ import annotations

from harness.engine.registry import Entry

SUITES = (
    Entry(
        "alpaca_eval2",
        "harness.suites.alpaca_eval2.suite:SUITE",
        "one pairwise judgment per prompt; win rate and length-controlled win rate",
        paper="arXiv 2404.04475",
    ),
    Entry(
        "arena_hard",
        "harness.suites.arena_hard.suite:SUITE",
        "two games with swapped order, five verdicts; Bradley-Terry and style control",
        paper="arXiv 2406.11939",
    ),
    Entry(
        "arena_hard_v0.1",
        "harness.suites.arena_hard.suite:V01_SUITE",
        "the published 500 prompts against gpt-4-0314",
        needs=("api",),
        paper="arXiv 2406.11939",
    ),
    Entry(
        "arena_hard_v2.0",
        "harness.suites.arena_hard.suite:V2_SUITE",
        "the published 750 prompts; each category has its own baseline",
        needs=("api",),
        paper="arXiv 2406.11939",
    ),
    Entry(
        "mt_bench",
        "harness.suites.mt_bench.suite:SUITE",
        "two-turn questions graded 1 to 10; pairwise mode",
        paper="arXiv 2306.05685",
    ),
    Entry(
        "mt_bench_corrected",
        "harness.suites.mt_bench.suite:CORRECTED_SUITE",
        "the published questions, graded with corrected references",
        needs=("api",),
        paper="arXiv 2306.05685",
    ),
    Entry(
        "lm_nano",
        "harness.suites.lm_eval.suite:LM_NANO",
        "facts and skills of the nano world: 260 choices, 260 answers",
        needs=("lm-eval", "train"),
    ),
    Entry(
        "lm_fusellm",
        "harness.suites.lm_eval.suite:LM_FUSELLM",
        "FuseLLM's list: BBH, common sense, TriviaQA, DROP, LAMBADA",
        needs=("lm-eval", "train"),
        paper="arXiv 2401.10491",
    ),
    Entry(
        "lm_fusechat3",
        "harness.suites.lm_eval.suite:LM_FUSECHAT3",
        "FuseChat-3.0's list without a judge: mathematics, knowledge, code",
        needs=("lm-eval", "train"),
        paper="arXiv 2503.04222",
    ),
    Entry(
        "lm_eval",
        "harness.suites.lm_eval.suite:LM_EVAL",
        "any tasks of lm-eval, by name",
        needs=("lm-eval", "train"),
    ),
    Entry(
        "perplexity",
        "harness.suites.perplexity.suite:SUITE",
        "bits per byte of held-out documents, by domain",
        needs=("train",),
    ),
    Entry(
        "personality_essays",
        "harness.suites.personality.suite:ESSAYS_SUITE",
        "five traits of authors from essays; macro-F1",
        paper="arXiv 2310.20256",
    ),
    Entry(
        "personality_mbti",
        "harness.suites.personality.suite:MBTI_SUITE",
        "four dimensions of types from forum posts; macro-F1",
        paper="arXiv 2310.20256",
    ),
    Entry(
        "hallucination",
        "harness.suites.hallucination.suite:SUITE",
        "invented facts in answers, judged; any question set",
        paper="arXiv 2401.10768",
    ),
    Entry(
        "hallucination_lima",
        "harness.suites.hallucination.suite:LIMA",
        "invented facts, LIMA's test prompts",
        paper="arXiv 2401.10768",
    ),
    Entry(
        "hallucination_vicuna",
        "harness.suites.hallucination.suite:VICUNA",
        "invented facts, VicunaBench",
        paper="arXiv 2401.10768",
    ),
    Entry(
        "hallucination_wizardlm",
        "harness.suites.hallucination.suite:WIZARDLM",
        "invented facts, the WizardLM test set",
        paper="arXiv 2401.10768",
    ),
    Entry(
        "hallucination_truthfulqa",
        "harness.suites.hallucination.suite:TRUTHFULQA",
        "invented facts, TruthfulQA",
        paper="arXiv 2401.10768",
    ),
    Entry(
        "rouge_ms_marco",
        "harness.suites.hallucination.suite:MS_MARCO",
        "answers from passages, ROUGE",
        needs=("rouge",),
        paper="arXiv 2401.10768",
    ),
    Entry(
        "rouge_aci_bench",
        "harness.suites.hallucination.suite:ACI_BENCH",
        "clinical notes of dialogues, ROUGE",
        needs=("rouge",),
        paper="arXiv 2401.10768",
    ),
    Entry(
        "simple_qa",
        "harness.suites.hallucination.suite:SIMPLE_QA",
        "short facts: correct, incorrect or not attempted",
        paper="arXiv 2411.04368",
    ),
    Entry(
        "hallucination_judge",
        "harness.suites.hallucination.suite:HALLUCINATION_JUDGE",
        "the model as a judge of hallucination, against labels made by people",
        paper="arXiv 2305.11747",
    ),
    Entry(
        "dialogue",
        "harness.suites.dialogue.suite:SUITE",
        "task-oriented replies that need one record among look-alikes; nano or your dialogues",
        paper="arXiv 2310.08877",
    ),
    Entry(
        "dialogue_camrest",
        "harness.suites.dialogue.suite:CAMREST_SUITE",
        "CamRest676: restaurants; BLEU, Entity F1, Recall@K",
        paper="arXiv 2310.08877",
    ),
    Entry(
        "dialogue_multiwoz",
        "harness.suites.dialogue.suite:MULTIWOZ_SUITE",
        "MultiWOZ 2.1, single domains; BLEU, Entity F1, Recall@K",
        paper="arXiv 2310.08877",
    ),
    Entry(
        "dialogue_smd",
        "harness.suites.dialogue.suite:SMD_SUITE",
        "SMD (KVRET): an in-car assistant; BLEU, Entity F1",
        paper="arXiv 2310.08877",
    ),
    Entry(
        "domain_brainstorming",
        "harness.suites.domain.suite:BRAINSTORMING",
        "brainstorming against another system, judged in both orders; beat rate",
        paper="arXiv 2310.09168",
    ),
    Entry(
        "domain_rewriting",
        "harness.suites.domain.suite:REWRITING",
        "rewriting against another system, judged in both orders; beat rate",
        paper="arXiv 2310.09168",
    ),
    Entry(
        "domain_math",
        "harness.suites.domain.suite:MATH",
        "problems of MATH; final answers compared by computer algebra",
        needs=("verify",),
        paper="arXiv 2310.09168",
    ),
)

# Class of the object that a plugin of the group "suites" provides.
CONTRACTS = {"suites": "harness.suites.base:Suite"}

# Judge operation -> its questions, a `harness.judging.operations.JudgeOperation`.
JUDGED = {
    "judge_alpaca": "harness.suites.alpaca_eval2.judging:PREFERENCES",
    "judge_arena": "harness.suites.arena_hard.judging:LABELS",
    "judge_mt_bench": "harness.suites.mt_bench.judging:RATINGS",
    "judge_mt_bench_pairwise": "harness.suites.mt_bench.judging:CHOICES",
    "judge_domain": "harness.suites.domain.judging:ORDERINGS",
}

# Statistics of cells -> function of sums over rows, see `harness.suites.statistics`.
STATISTICS = {
    "percent": "harness.suites.statistics:percent",
    "bleu": "harness.suites.dialogue.bleu:bleu",
    "entity_f1": "harness.suites.dialogue.entity_f1:f1_percent",
    "label_macro_f1": "harness.suites.personality.labels:macro_f1_percent",
    "label_accuracy": "harness.suites.personality.labels:accuracy_percent",
    "label_macro_f1_worst": "harness.suites.personality.labels:worst_macro_f1",
    "label_macro_f1_sd": "harness.suites.personality.labels:spread_of_macro_f1",
    "kappa": "harness.stats.agreement:kappa_of_sums",
}

# Published judgments -> their reader, a `harness.judging.verdict_sets.JudgmentForm`.
JUDGMENT_FORMS = {
    "arena_hard": "harness.suites.arena_hard.judgment_files:FORM",
    "mt_bench_pairwise": "harness.suites.mt_bench.judgment_files:CHOICES",
    "mt_bench": "harness.suites.mt_bench.judgment_files:RATINGS",
    "hallucination": "harness.suites.hallucination.judgment_files:JUDGED",
    "hallucination_labels": "harness.suites.hallucination.judgment_files:LABELLED",
}

# Operation -> the module that defines it.
OPERATIONS = {
    "compare_answers": "harness.suites.preconditions.answers",
    "grade_pairs": "harness.suites.preconditions.answers",
    "compare_readings": "harness.suites.preconditions.readings",
    "measure_changes": "harness.suites.preconditions.changes",
    "score_ratings": "harness.suites.preconditions.ratings",
    "judge_alpaca": "harness.suites.alpaca_eval2.judging",
    "judge_arena": "harness.suites.arena_hard.judging",
    "judge_mt_bench": "harness.suites.mt_bench.judging",
    "judge_mt_bench_pairwise": "harness.suites.mt_bench.judging",
    "follow_up": "harness.suites.mt_bench.dialogues",
    "select_prompts": "harness.suites.mt_bench.dialogues",
    "join_rows": "harness.suites.mt_bench.dialogues",
    "score_alpaca": "harness.suites.alpaca_eval2.cells",
    "score_arena": "harness.suites.arena_hard.cells",
    "score_mt_bench": "harness.suites.mt_bench.cells",
    "read_documents": "harness.suites.perplexity.operations",
    "score_perplexity": "harness.suites.perplexity.operations",
    "lm_eval_run": "harness.suites.lm_eval.running",
    "score_lm_eval": "harness.suites.lm_eval.cells",
    "classify_authors": "harness.suites.personality.classifiers",
    "classify_authors_by_encoder": "harness.suites.personality.encoders",
    "interview_authors": "harness.suites.personality.interviews",
    "decide_by_items": "harness.suites.personality.interviews",
    "score_labels": "harness.suites.personality.cells",
    "score_hallucination": "harness.suites.hallucination.cells",
    "label_answers": "harness.suites.hallucination.agreement",
    "score_judge": "harness.suites.hallucination.agreement",
    "rouge_answers": "harness.suites.hallucination.grounded",
    "score_rouge": "harness.suites.hallucination.grounded",
    "score_short_facts": "harness.suites.hallucination.short_facts",
    "score_prompts": "harness.suites.per_prompt",
    "retrieve_records": "harness.suites.dialogue.answering",
    "respond_by": "harness.suites.dialogue.answering",
    "score_dialogue": "harness.suites.dialogue.cells",
    "judge_domain": "harness.suites.domain.judging",
    "score_domain": "harness.suites.domain.cells",
    "math_problems": "harness.suites.domain.mathematics",
    "score_domain_math": "harness.suites.domain.mathematics",
}

# Prompt builders and reply parsers of the operation `ask`.
PROMPTS = {
    "dialogue_reply": "harness.suites.dialogue.prompts:dialogue_reply",
    "dialogue_reply_short": "harness.suites.dialogue.prompts:dialogue_reply_short",
    "judge_hallucination": "harness.suites.hallucination.prompts:hallucination",
    "judge_helpfulness": "harness.suites.hallucination.prompts:helpfulness",
    "judge_refusal": "harness.suites.hallucination.prompts:refusal",
    "judge_grade": "harness.suites.hallucination.prompts:grade",
}

READERS = {
    "judge_score": "harness.suites.hallucination.judging:read_score",
    "judge_refusal": "harness.suites.hallucination.judging:read_refusal",
    "judge_grade": "harness.suites.hallucination.judging:read_grade",
}

# Retrievers of records, see `harness.suites.dialogue.retrievers`.
RETRIEVERS = {
    "value_frequency": "harness.suites.dialogue.retrievers:value_frequency",
    "bm25": "harness.suites.dialogue.retrievers:bm25",
    "dense": "harness.suites.dialogue.retrievers:dense",
    "slot_matching": "harness.suites.dialogue.slots:slot_matching",
    "hybrid": "harness.suites.dialogue.slots:hybrid",
}
