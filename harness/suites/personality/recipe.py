"""Recipe record of methods that label authors: questionnaires, plain prompting, classifiers."""

from __future__ import annotations

from typing import Annotated

from harness.core.records import Record
from harness.engine.recipe import ModelSpec, Recipe, Refers
from harness.suites.personality.dialogues import InterviewSettings
from harness.suites.personality.encoders import ClassifierSettings


class Models(Record):
    """Models of a recipe.

    Attributes:
        chat: chat model that is asked about authors.
        encoder: encoder for the classifiers.
    """

    chat: Annotated[ModelSpec, Refers("reader")]
    encoder: Annotated[ModelSpec | None, Refers("encoder")] = None


class AuthorsRecipe(Recipe):
    """Recipe of methods that label authors; each method reads only its own tables."""

    models: Models
    interview: InterviewSettings = InterviewSettings()
    classifier: ClassifierSettings = ClassifierSettings()
