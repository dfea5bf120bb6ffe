"""A small T5 with new weights, and its tokenizer of whole words and values.

A tokenizer of pieces would have to copy a telephone number digit by digit; here every value of the
knowledge base is one token. Words that neither the training dialogues nor the records contain are
unknown to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from harness.engine.operations import Row
from methods.mktod.reading import PHRASES
from methods.mktod.settings import ScratchParams

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
# Words with inner points, slashes, colons and apostrophes; else single characters.
WORDS = r"\w+(?:[.:/'&+-]\w+)*|[^\w\s]"


def word_tokenizer(texts: Iterable[str], values: Iterable[str], min_count: int) -> Any:
    """A tokenizer of words.

    Args:
        texts: training text, whose words with `min_count` occurrences get a token.
        values: text whose words all get one.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    lower = normalizers.Lowercase()

    def words(text: str) -> list[str]:
        return [word for word, _ in split.pre_tokenize_str(lower.normalize_str(text))]

    counted = Counter(word for text in texts for word in words(text))
    kept = {word for word, count in counted.items() if count >= min_count}
    kept |= {word for text in values for word in words(text)}
    table = {word: id for id, word in enumerate([PAD, END, UNKNOWN, *sorted(kept)])}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token=UNKNOWN))
    tokenizer.normalizer = lower
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, table[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )


def new_generator(
    turns: Sequence[Row], records: Sequence[Row], params: ScratchParams
) -> tuple[Any, Any]:
    """(T5ForConditionalGeneration, tokenizer) for dialogues and their knowledge base."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    texts = [text for turn in turns for text in (turn["context"][-1], turn["reference"])]
    every = [*records, *(record for turn in turns for record in turn["kb"])]
    # Once as one word each, once as the words of a surface form.
    values = {f"{name} {value}" for record in every for name, value in record.items()}
    values |= {text.replace("_", " ") for text in values} | {*PHRASES.values(), ","}
    tokenizer = word_tokenizer(texts, sorted(values), params.min_count)
    torch.manual_seed(params.seed)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=params.hidden,
        d_kv=max(1, params.hidden // params.heads),
        d_ff=2 * params.hidden,
        num_layers=params.layers,
        num_heads=params.heads,
        dropout_rate=params.dropout,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return T5ForConditionalGeneration(config), tokenizer
