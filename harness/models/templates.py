"""Chat templates for base models, whose tokenizers have none.

A template is set by training (`SftParams.chat_template`) and saved with the checkpoint.
"""

from __future__ import annotations

from typing import Literal

TemplateName = Literal["", "vicuna_v1.1"]

_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)

# FastChat's conversation "vicuna_v1.1"; </s> is the tokenizer's own end token.
TEMPLATES: dict[str, str] = {
    "vicuna_v1.1": (
        "{{ bos_token or '' }}"
        "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
        "{% else %}" + _VICUNA_SYSTEM + "{% endif %}"
        "{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ ' USER: ' + message['content'] }}"
        "{% elif message['role'] == 'assistant' %}"
        "{{ ' ASSISTANT:' + message['content'] + eos_token }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
    ),
}
