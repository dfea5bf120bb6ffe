"""Labelling authors with traits: their texts, questionnaires, dialogues and scores."""
