"""The built-in methods, one line each. Third parties add theirs by an entry point in the group
`crucible.methods` with the same target; see docs/plugins.md."""

from __future__ import annotations

from harness.engine.registry import Entry

_WRPO = "arXiv 2412.03187"
_FUSECHAT3 = "arXiv 2503.04222"
_PSYCOT = "arXiv 2310.20256"
_FUSELLM = "arXiv 2401.10491"
_FUSECHAT = "arXiv 2408.07990"
_KCA = "arXiv 2401.10768"
_FUSION = "implicit fusion"
_EXPLICIT = "explicit fusion"
_KNOWLEDGE = "knowledge before tuning"
_ASKING = "asking about authors"
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
)  # fmt: skip

# Operation -> the module that defines it.
OPERATIONS = {
    "import_instructions": "methods.kca.instructions",
    "import_kca_replies": "methods.kca.replies_released",
    "kca_questions": "methods.kca.operations",
    "kca_outcomes": "methods.kca.operations",
    "kca_rows": "methods.kca.operations",
    "score_knowledge_exam": "methods.kca.suite",
}

# Prompt builders and reply parsers, see `harness.backends.prompting`.
PROMPTS = {
    "kca_requirement": "methods.kca.prompts:requirement",
    "kca_knowledge": "methods.kca.prompts:knowledge",
    "kca_exam": "methods.kca.prompts:exam",
    "kca_question": "methods.kca.examination:question_prompt",
}
READERS = {
    "kca_requirement": "methods.kca.prompts:read_requirement",
    "kca_exam": "methods.kca.prompts:read_exam",
}

SUITES = (
    Entry(
        "knowledge_exam",
        "methods.kca.suite:SUITE",
        "questions whose facts a model does or does not know, by an exam",
        needs=("train",),
        paper=_KCA,
    ),
)

JUDGES = (
    Entry(
        "nano:helper",
        "methods.kca.nano_helper:open_helper",
        "KCA's helper model in the nano world, with a switchable error rate",
    ),
)

# Preference loss -> where it is defined.
LOSSES = {
    "wrpo": "methods.wrpo.loss:wrpo",
    "wrpo_two_pairs": "methods.wrpo.loss:wrpo_two_pairs",
    "wrpo_simpo": "methods.wrpo.loss:wrpo_simpo",
    "wrpo_ipo": "methods.wrpo.loss:wrpo_ipo",
}

# What a plugin of the group "methods" must provide.
CONTRACTS = {"methods": "harness.engine.recipe:Method"}
