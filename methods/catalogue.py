"""The built-in methods, one line each. Third parties add theirs by an entry point in the group
`crucible.methods` with the same target; see docs/plugins.md."""

from __future__ import annotations

from harness.engine.registry import Entry

_WRPO = "arXiv 2412.03187"
_FUSECHAT3 = "arXiv 2503.04222"
_PSYCOT = "arXiv 2310.20256"
_FUSELLM = "arXiv 2401.10491"
_FUSECHAT = "arXiv 2408.07990"
_ADPA = "arXiv 2502.17927"
_KCA = "arXiv 2401.10768"
_FUSION = "implicit fusion"
_EXPLICIT = "explicit fusion"
_KNOWLEDGE = "knowledge before tuning"
_ASKING = "asking about authors"
_MKTOD = "arXiv 2310.08877"
_DIALOGUE = "dialogue"
_DISTILLATION = "preference distillation"
_EXPLORE = "arXiv 2310.09168"
_SEFT = "arXiv 2406.10813; reconstruction"
_EVOLUTION = "self-evolution"
_COVERAGE = "instruction coverage"
_BASELINE = "baseline"


def _entry(
    name: str,
    group: str,
    target: str,
    paper: str,
    recipe: str,
    summary: str,
    needs: tuple[str, ...] = ("train",),
) -> Entry:
    return Entry(name, f"methods.{target}", summary, needs, group=group, paper=paper, recipe=recipe)


METHODS = (
    _entry(
        "wrpo", _FUSION, "wrpo.method:WRPO", _WRPO, "wrpo",
        "preference optimisation whose preferred side moves from own to source responses",
    ),
    _entry(
        "wrpo_simpo", _FUSION, "wrpo.method:WRPO_SIMPO", f"{_WRPO}; definition ours", "wrpo",
        "WRPO with SimPO's reference-free, length-normalised reward (our definition)",
    ),
    _entry(
        "wrpo_ipo", _FUSION, "wrpo.method:WRPO_IPO", f"{_WRPO}; definition ours", "wrpo",
        "WRPO with IPO's squared loss (our definition)",
    ),
    _entry(
        "fusechat3", _FUSION, "fusechat3.method:FUSECHAT3", _FUSECHAT3, "fusechat3",
        "SFT on the best verified source responses, then DPO on pairs of one source, by domain",
        ("train", "verify", "lm-eval"),
    ),
    _entry(
        "fusechat3_sft", _FUSION, "fusechat3.method:FUSECHAT3_SFT", _FUSECHAT3, "fusechat3",
        "FuseChat-3.0 without its preference training", ("train", "verify", "lm-eval"),
    ),
    _entry(
        "fusellm", _EXPLICIT, "fusellm.method:FUSELLM", _FUSELLM, "fusellm",
        "training on a corpus and on the best source's predictions, block by block (MinCE)",
    ),
    _entry(
        "fusellm_avgce", _EXPLICIT, "fusellm.method:FUSELLM_AVGCE", _FUSELLM, "fusellm",
        "the same with all sources' predictions averaged by their cross-entropies (AvgCE)",
    ),
    _entry(
        "fusechat", _EXPLICIT, "fusechat.method:FUSECHAT", _FUSECHAT, "fusechat",
        "the target fused with each source in turn, and the results merged by SCE or VaRM",
    ),
    _entry(
        "fusechat_pair", _EXPLICIT, "fusechat.method:FUSECHAT_PAIR", _FUSECHAT, "fusechat",
        "the target fused with one source (set source = 0, 1, ...)",
    ),
    _entry(
        "fusechat_mergekit", _BASELINE, "fusechat.method:FUSECHAT_MERGEKIT", _FUSECHAT, "fusechat",
        "fused models merged by mergekit: task arithmetic, TIES, DARE, SLERP", ("train", "merge"),
    ),
    _entry(
        "merge", _BASELINE, "fusechat.method:MERGE", "FuseO1-Preview", "fusechat",
        "sources of the target's shape merged over it, without training",
    ),
    _entry(
        "target", _BASELINE, "baselines.method:TARGET", "", "wrpo",
        "the target model before any training",
    ),
    _entry(
        "source", _BASELINE, "baselines.method:SOURCE", "", "wrpo",
        "one source model alone (set source = 0, 1, ...)",
    ),
    _entry(
        "sft", _BASELINE, "baselines.method:SFT", "", "wrpo",
        "SFT on the best source response of each prompt",
    ),
    _entry(
        "dpo", _BASELINE, "baselines.method:DPO", "arXiv 2305.18290", "wrpo",
        "DPO on the SFT model's own best and worst response",
    ),
    _entry(
        "dpo_off_policy", _BASELINE, "baselines.method:DPO_OFF_POLICY", "arXiv 2305.18290", "wrpo",
        "DPO on the best source response against the SFT model's worst",
    ),
    _entry(
        "simpo", _BASELINE, "baselines.method:SIMPO", "arXiv 2405.14734", "wrpo",
        "SimPO on the SFT model's own best and worst response",
    ),
    _entry(
        "ipo", _BASELINE, "baselines.method:IPO", "arXiv 2310.12036", "wrpo",
        "IPO on the SFT model's own best and worst response",
    ),
    _entry(
        "ln_dpo", _BASELINE, "baselines.method:LN_DPO", "", "wrpo",
        "length-normalised DPO on the SFT model's own best and worst response",
    ),
    _entry(
        "clm", _BASELINE, "fusellm.method:CLM", _FUSELLM, "fusellm",
        "continual training on the corpus, without teachers",
    ),
    _entry(
        "distillation", _BASELINE, "fusellm.method:DISTILLATION", _FUSELLM, "fusellm",
        "training on the corpus and on one teacher's predictions",
    ),
    _entry(
        "parameter_averaging", _BASELINE, "fusellm.method:PARAMETER_AVERAGING", _FUSELLM, "fusellm",
        "the mean of copies of the target, each trained on domains or with a seed of its own",
    ),
    _entry(
        "adpa", _DISTILLATION, "adpa.method:ADPA", _ADPA, "adpa",
        "the student's own answers, token by token under the advantage of a DPO teacher",
    ),
    _entry(
        "adpa_plus", _DISTILLATION, "adpa.method:ADPA_PLUS", _ADPA, "adpa",
        "ADPA from the DCKD student, on answers of that student",
    ),
    _entry(
        "dckd", _DISTILLATION, "adpa.method:DCKD", _ADPA, "adpa",
        "the DPO teacher's distributions on preferred and dispreferred answers",
    ),
    _entry(
        "adpa_no_reference", _BASELINE, "adpa.method:ADPA_NO_REFERENCE", _ADPA, "adpa",
        "ADPA against the uniform distribution instead of the reference teacher",
    ),
    _entry(
        "adpa_sequence", _BASELINE, "adpa.method:ADPA_SEQUENCE", f"{_ADPA}; definition ours",
        "adpa",
        "one advantage per answer instead of one per token and vocabulary entry",
    ),
    _entry(
        "kd", _BASELINE, "adpa.method:KD", _ADPA, "adpa",
        "the DPO teacher's distributions on preferred answers alone",
    ),
    _entry(
        "seqkd", _BASELINE, "adpa.method:SEQKD", "arXiv 1606.07947", "adpa",
        "SFT on the DPO teacher's own answers",
    ),
    _entry(
        "student_sft", _BASELINE, "adpa.method:STUDENT_SFT", "", "adpa", "the student after SFT",
    ),
    _entry(
        "student_dpo", _BASELINE, "adpa.method:STUDENT_DPO", "arXiv 2305.18290", "adpa",
        "the student after SFT and DPO on the pairs",
    ),
    _entry(
        "teacher_sft", _BASELINE, "adpa.method:TEACHER_SFT", "", "adpa",
        "the teacher after SFT, the reference of the advantage",
    ),
    _entry(
        "teacher_dpo", _BASELINE, "adpa.method:TEACHER_DPO", "arXiv 2305.18290", "adpa",
        "the teacher after SFT and DPO on the pairs",
    ),
    _entry(
        "psycot", _ASKING, "psycot.method:PSYCOT", _PSYCOT, "psycot",
        "a model rates the items of a questionnaire about an author, one a turn, then concludes",
        (),
    ),
    _entry(
        "psycot_ratings", _ASKING, "psycot.method:PSYCOT_RATINGS", f"{_PSYCOT}; rule ours",
        "psycot",
        "PsyCoT decided by the keyed mean or the votes of its items", (),
    ),
    _entry(
        "psycot_single_turn", _ASKING, "psycot.method:PSYCOT_SINGLE_TURN", _PSYCOT, "psycot",
        "all items and the choice in one prompt", (),
    ),
    _entry(
        "psycot_released", _ASKING, "psycot.method:PSYCOT_RELEASED", _PSYCOT, "psycot",
        "PsyCoT as released: one flat message, wrong key for extraversion, posts shuffled", (),
    ),
    _entry(
        "standard_prompting", _ASKING, "prompting.method:STANDARD_PROMPTING", _PSYCOT, "psycot",
        "one question about an author and trait", (),
    ),
    _entry(
        "zero_shot_cot", _ASKING, "prompting.method:ZERO_SHOT_COT", "arXiv 2205.11916", "psycot",
        "step by step first, then that question", (),
    ),
    _entry(
        "majority", _BASELINE, "classifiers.method:MAJORITY", "", "psycot",
        "the more frequent label of each trait", ("classic",),
    ),
    _entry(
        "tfidf_svm", _BASELINE, "classifiers.method:TFIDF_SVM", "", "psycot",
        "TF-IDF of an author's words, linear support vector machine", ("classic",),
    ),
    _entry(
        "tfidf_logistic", _BASELINE, "classifiers.method:TFIDF_LOGISTIC", "", "psycot",
        "TF-IDF of an author's words, logistic regression", ("classic",),
    ),
    _entry(
        "encoder", _BASELINE, "classifiers.method:ENCODER", "", "psycot",
        "a pretrained encoder, fine-tuned or frozen (models.encoder)", ("classic", "train"),
    ),
    _entry(
        "mktod", _DIALOGUE, "mktod.trained:MKTOD", _MKTOD, "mktod",
        "generator and retriever trained together: marginal likelihood, meta knowledge",
    ),
    _entry(
        "mktod_retriever", _DIALOGUE, "mktod.trained:MKTOD_RETRIEVER", _MKTOD, "mktod",
        "retriever: that of MK-TOD after the joint training",
    ),
    _entry(
        "distant_supervision", _DIALOGUE, "mktod.trained:DISTANT_SUPERVISION", _MKTOD, "mktod",
        "retriever: an encoder trained on the records whose values a turn names",
    ),
    _entry(
        "mktod_chat", _DIALOGUE, "mktod.method:MKTOD_CHAT", f"{_MKTOD}; wording ours", "mktod_chat",
        "a chat model with retrieved records and their rank, confidence and co-occurrence", (),
    ),
    _entry(
        "records_chat", _DIALOGUE, "mktod.method:RECORDS_CHAT", _MKTOD, "mktod_chat",
        "a chat model with the records of a retriever", (),
    ),
    _entry(
        "value_frequency", _DIALOGUE, "mktod.method:VALUE_FREQUENCY", _MKTOD, "mktod_chat",
        "retriever: number of a record's values in the dialogue", (),
    ),
    _entry(
        "bm25", _DIALOGUE, "mktod.method:BM25", _MKTOD, "mktod_chat",
        "retriever: BM25 of dialogue and record", ("dialogue",),
    ),
    _entry(
        "dense_zero_shot", _DIALOGUE, "mktod.method:DENSE_ZERO_SHOT", "", "mktod_chat",
        "retriever: cosine of an encoder that was not trained for the task",
    ),
    _entry(
        "slot_matching", _DIALOGUE, "mktod.method:SLOT_MATCHING", "definition ours", "mktod_chat",
        "retriever: last mention of each attribute, with stemming and joined words", (),
    ),
    _entry(
        "slot_hybrid", _DIALOGUE, "mktod.method:SLOT_HYBRID", "definition ours", "mktod_chat",
        "retriever: slot matching, and an encoder where nothing matches",
    ),
    _entry(
        "seft", _EVOLUTION, "seft.method:SEFT", _SEFT, "seft",
        "SFT on own answers that a reviser improves where it must (independent reconstruction)",
    ),
    _entry(
        "seft_internal", _EVOLUTION, "seft.method:INTERNAL", _SEFT, "seft",
        "SEFT with the reviser of the policy's own best answers only",
    ),
    _entry(
        "seft_external", _EVOLUTION, "seft.method:EXTERNAL", _SEFT, "seft",
        "SEFT with the reviser of stronger models' answers only",
    ),
    _entry(
        "seft_gated", _EVOLUTION, "seft.method:GATED", _SEFT, "seft",
        "SEFT that accepts a revision only if it scores no lower and is not too long",
    ),
    _entry(
        "seft_by_dpo", _EVOLUTION, "seft.method:BY_DPO", _SEFT, "seft",
        "SEFT whose policy learns by DPO on (revised, source)",
    ),
    _entry(
        "seft_always_revise", _BASELINE, "seft.method:ALWAYS", _SEFT, "seft",
        "SEFT that rewrites every answer",
    ),
    _entry(
        "seft_never_revise", _BASELINE, "seft.method:NEVER", _SEFT, "seft",
        "SEFT that copies every answer: the identity control",
    ),
    _entry(
        "seft_oracle_label", _BASELINE, "seft.method:ORACLE", _SEFT, "seft",
        "SEFT that keeps what scores highest of source, minor and major revision",
    ),
    _entry(
        "seft_policy", _BASELINE, "seft.method:POLICY", "", "seft",
        "the policy before self-evolution",
    ),
    _entry(
        "seft_sft_best", _BASELINE, "seft.method:SFT_BEST", "", "seft",
        "SFT on the best rated answer of each prompt",
    ),
    _entry(
        "seft_dpo", _BASELINE, "seft.method:DPO", "arXiv 2305.18290", "seft",
        "DPO on the best and the worst rated answer of each prompt",
    ),
    _entry(
        "seft_orpo", _BASELINE, "seft.method:ORPO", "arXiv 2403.07691", "seft",
        "ORPO on the best and the worst rated answer of each prompt",
    ),
    _entry(
        "kca", _KNOWLEDGE, "kca.method:KCA", _KCA, "kca",
        "an exam finds the facts a base model lacks; SFT then withholds, adds or refuses them",
    ),
    _entry(
        "kca_open_book", _KNOWLEDGE, "kca.method:OPEN_BOOK", _KCA, "kca",
        "KCA with the knowledge before instructions that need unknown facts",
    ),
    _entry(
        "kca_discard", _KNOWLEDGE, "kca.method:DISCARD", _KCA, "kca",
        "KCA without the instructions that need unknown facts",
    ),
    _entry(
        "kca_refusal", _KNOWLEDGE, "kca.method:REFUSAL", _KCA, "kca",
        "KCA with refusals as responses to instructions that need unknown facts",
    ),
    _entry(
        "kca_standard", _BASELINE, "kca.method:STANDARD", _KCA, "kca",
        "SFT of a base model on all instructions",
    ),
    _entry(
        "kca_same_ids", _BASELINE, "kca.method:SAME_IDS", _KCA, "kca",
        "SFT of a base model on the instructions that KCA decides about",
    ),
    _entry(
        "kca_base", _BASELINE, "kca.method:BASE", "", "kca",
        "the base model before tuning",
    ),
    _entry(
        "explore_instruct", _COVERAGE, "explore_instruct.method:EXPLORE_INSTRUCT", _EXPLORE,
        "explore_instruct",
        "SFT on examples of a domain's tasks, which a model divides into a tree, breadth first",
    ),
    _entry(
        "explore_depth_first", _COVERAGE, "explore_instruct.method:DEPTH_FIRST", _EXPLORE,
        "explore_instruct",
        "Explore-Instruct with lookahead and backtracking in depth-first order",
    ),
    _entry(
        "explore_released", _COVERAGE, "explore_instruct.method:AS_RELEASED", _EXPLORE,
        "explore_instruct",
        "Explore-Instruct with every rule of the released code",
    ),
    _entry(
        "domain_self_instruct", _BASELINE, "explore_instruct.method:SELF_INSTRUCT", _EXPLORE,
        "explore_instruct",
        "SFT on examples of the seed tree's tasks alone (K = 0)",
    ),
    _entry(
        "domain_curated", _BASELINE, "explore_instruct.method:CURATED", _EXPLORE,
        "explore_instruct",
        "SFT on as many instructions that people wrote",
    ),
    _entry(
        "explore_base", _BASELINE, "explore_instruct.method:BASE", "", "explore_instruct",
        "the base model before tuning",
    ),
    _entry(
        "explore_explorer", _BASELINE, "explore_instruct.method:ALONE", "", "explore_instruct",
        "the explorer, which answers for itself", (),
    ),
)  # fmt: skip

SUITES = (
    Entry(
        "knowledge_exam",
        "methods.kca.suite:SUITE",
        "questions whose facts a model does or does not know, by an exam",
        needs=("train",),
        paper=_KCA,
    ),
    Entry(
        "seft_rounds", "methods.seft.rounds:SUITE",
        "rounds of self-evolution: labels, acceptance, scores, lengths, entropy",
        paper=_SEFT,
    ),
    Entry(
        "skill_coverage", "methods.explore_instruct.coverage:SUITE",
        "skills of a nano domain that the instruction data of a checkpoint cover",
        paper=_EXPLORE,
    ),
)  # fmt: skip

# Operation -> the module that defines it.
OPERATIONS = {
    "import_instructions": "methods.kca.instructions",
    "import_kca_replies": "methods.kca.replies_released",
    "kca_questions": "methods.kca.operations",
    "kca_outcomes": "methods.kca.operations",
    "kca_rows": "methods.kca.operations",
    "check_exam": "methods.kca.preconditions",
    "score_knowledge_exam": "methods.kca.suite",
    "mine_pairs": "methods.seft.pairs",
    "label_pairs": "methods.seft.pairs",
    "target_scoring": "methods.seft.pairs",
    "train_reviser": "methods.seft.reviser",
    "revision_requests": "methods.seft.revising",
    "decide_revisions": "methods.seft.revising",
    "revision_prompts": "methods.seft.revising",
    "join_revisions": "methods.seft.revising",
    "accept_revisions": "methods.seft.revising",
    "revision_preferences": "methods.seft.revising",
    "rate_answers": "methods.seft.rating",
    "rated_targets": "methods.seft.rated_rows",
    "rated_preferences": "methods.seft.rated_rows",
    "fresh_prompts": "methods.seft.rated_rows",
    "record_rounds": "methods.seft.rounds",
    "score_seft_rounds": "methods.seft.rounds",
    "new_generator": "methods.mktod.operations",
    "train_retriever": "methods.mktod.operations",
    "train_mktod": "methods.mktod.operations",
    "reply_with_records": "methods.mktod.operations",
    "import_task_tree": "methods.explore_instruct.operations",
    "extend_task_tree": "methods.explore_instruct.operations",
    "enrich_task_tree": "methods.explore_instruct.operations",
    "prune_task_tree": "methods.explore_instruct.operations",
    "filter_task_tree": "methods.explore_instruct.operations",
    "sample_task_tree": "methods.explore_instruct.operations",
    "curated_instructions": "methods.explore_instruct.curated",
    "keep_instructions": "methods.explore_instruct.coverage",
    "score_skill_coverage": "methods.explore_instruct.coverage",
}

# Preference loss -> where it is defined.
LOSSES = {
    "wrpo": "methods.wrpo.loss:wrpo",
    "wrpo_two_pairs": "methods.wrpo.loss:wrpo_two_pairs",
    "wrpo_simpo": "methods.wrpo.loss:wrpo_simpo",
    "wrpo_ipo": "methods.wrpo.loss:wrpo_ipo",
}

# What a plugin of the group "methods" must provide.
CONTRACTS = {"methods": "harness.engine.recipe:Method"}

# Prompt builders, see `harness.backends.prompting`.
PROMPTS = {
    "kca_requirement": "methods.kca.prompts:requirement",
    "kca_knowledge": "methods.kca.prompts:knowledge",
    "kca_exam": "methods.kca.prompts:exam",
    "kca_question": "methods.kca.examination:question_prompt",
    "mktod_reply": "methods.mktod.prompting:mktod_reply",
    "mktod_reply_prefix": "methods.mktod.prompting:mktod_reply_prefix",
}
READERS = {
    "kca_requirement": "methods.kca.prompts:read_requirement",
    "kca_exam": "methods.kca.prompts:read_exam",
}

JUDGES = (
    Entry(
        "nano:helper",
        "methods.kca.nano_helper:open_helper",
        "KCA's helper model in the nano world, with a switchable error rate",
    ),
    Entry(
        "nano:explorer",
        "methods.explore_instruct.nano_explorer:open_explorer",
        "Explore-Instruct's explorer in the nano world, with a switchable error rate",
    ),
)
