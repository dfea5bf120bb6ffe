"""Tiny models with tokenizers made on the spot, and a stage context without an engine."""

from tests.tiny_models import checkpoint, context, model_of, one_thread, rows_artifact, tokenizer

__all__ = ["checkpoint", "context", "model_of", "one_thread", "rows_artifact", "tokenizer"]
