"""The record of recipes that label authors: questionnaires, plain prompting, classifiers."""

from __future__ import annotations

from typing import Annotated

from harness.core.records import Record
from harness.engine.recipe import ModelSpec, Recipe, Refers
from harness.suites.personality.dialogues import InterviewSettings
from harness.suites.personality.encoders import ClassifierSettings


class Models(Record):
    """The chat model that is asked about authors, and the encoder that learns to label them."""

    chat: Annotated[ModelSpec, Refers("reader")]
    encoder: Annotated[ModelSpec | None, Refers("encoder")] = None


class AuthorsRecipe(Recipe):
    """What a run that labels authors needs; each method reads its own tables."""

    models: Models
    interview: InterviewSettings = InterviewSettings()
    classifier: ClassifierSettings = ClassifierSettings()
