"""Prompt, documents and letter extraction of the crucible_fusechat_* tasks.

FuseChat-3.0 (arXiv 2503.04222) asks for reasoning and a closing sentence. Three filters read the
letter, and all are reported: "chosen" as an answer states it, "three-stage" as the original does,
mistakes included, so that its numbers can be compared; see `harness.verification.letters`.

Departure: in both, an answer without a letter is wrong, where the original draws one of the
options, the same one for every question with as many options. The filter "three-stage-random"
draws, with a seed made of the question.
"""

from __future__ import annotations

import random
from typing import Any

from harness.core.hashing import seed_from
from harness.verification.letters import LETTERS, chosen_letter, released_letter

NOTHING = "[invalid]"  # lm-eval's own word for "no match"
_TASK = (
    "Here is a multiple-choice question. Answer a simple one briefly; work through a hard one in "
    "numbered steps. Close with exactly this sentence, the letter of your choice in the place of "
    '[letter]: "The best answer is [letter]."'
)


def prompt(doc: dict[str, Any]) -> str:
    """The whole user turn."""
    options = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, doc["options"]))
    return f"{_TASK}\n\nQuestion: {doc['question'].strip()}\n{options}"


def chosen_letters(responses: list[list[str]], docs: list[dict[str, Any]]) -> list[str]:
    """Filter: the letter that each first response states."""
    pairs = zip(responses, docs)
    return [chosen_letter(each[0], len(doc["options"])) or NOTHING for each, doc in pairs]


def letters_or_wrong(responses: list[list[str]], docs: list[dict[str, Any]]) -> list[str]:
    """Filter: the letter of each first response, as the original reads it."""
    return [released_letter(each[0]) or NOTHING for each in responses]


def letters_or_random(responses: list[list[str]], docs: list[dict[str, Any]]) -> list[str]:
    """Filter: as above, a seeded draw among the options where there is no letter."""
    return [released_letter(each[0]) or _drawn(doc) for each, doc in zip(responses, docs)]


def _drawn(doc: dict[str, Any]) -> str:
    return LETTERS[seed_from("no letter", doc["question"]) % len(doc["options"])]


def _mapped(dataset: Any, convert: Any) -> Any:
    """Documents with question, options and gold letter, and nothing else."""
    return dataset.map(convert, remove_columns=dataset.column_names)


def mmlu_pro_docs(dataset: Any) -> Any:
    def convert(doc: dict[str, Any]) -> dict[str, Any]:
        options = [text.strip() for text in doc["options"] if text != "N/A"]
        return {"question": doc["question"], "options": options, "gold": doc["answer"]}

    return _mapped(dataset, convert)


def mmlu_redux_docs(dataset: Any) -> Any:
    def convert(doc: dict[str, Any]) -> dict[str, Any]:
        gold = LETTERS[int(doc["answer"])]
        return {"question": doc["question"], "options": list(doc["choices"]), "gold": gold}

    return _mapped(dataset, convert)


def mmlu_redux_subsets(**options: Any) -> Any:
    """All subjects of MMLU-Redux as one data set; the hub keeps a subset for each."""
    import datasets

    name = "fxmarty/mmlu-redux-2.0-ok"
    subjects = sorted(datasets.get_dataset_config_names(name))
    parts = [datasets.load_dataset(name, subject, split="test") for subject in subjects]
    return datasets.DatasetDict({"test": datasets.concatenate_datasets(parts)})


def gpqa_diamond_docs(dataset: Any) -> Any:
    """The options in an order drawn from the question, whatever else was drawn before."""

    def convert(doc: dict[str, Any]) -> dict[str, Any]:
        right = _tidy(doc["Correct Answer"])
        options = [right, *(_tidy(doc[f"Incorrect Answer {n}"]) for n in (1, 2, 3))]
        order = list(range(4))
        random.Random(seed_from("options", doc["Question"])).shuffle(order)
        shuffled = [options[place] for place in order]
        return {
            "question": doc["Question"],
            "options": shuffled,
            "gold": LETTERS[order.index(0)],
        }

    return _mapped(dataset, convert)


def _tidy(text: str | None) -> str:
    return " ".join((text or "").split())
