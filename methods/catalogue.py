"""The built-in methods, one line each. Third parties add theirs by an entry point in the group
`crucible.methods` with the same target; see docs/plugins.md."""

from __future__ import annotations

from harness.registry import Entry

_WRPO = "arXiv 2412.03187"
_FUSION = "implicit fusion"
_BASELINE = "baseline"


def _entry(name: str, group: str, target: str, paper: str, recipe: str, summary: str) -> Entry:
    return Entry(
        name, f"methods.{target}", summary, ("train",), group=group, paper=paper, recipe=recipe
    )


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
)  # fmt: skip
