"""Chat templates for base models, whose tokenizers have none.

A template is set by training (`SftParams.chat_template`) and saved with the checkpoint.
"""

from __future__ import annotations

from typing import Literal

TemplateName = Literal["", "vicuna_v1.1", "alpaca"]

_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)

# Stanford Alpaca's prompts with and without an input; `alpaca_message` writes the message of a row.
_ALPACA = "Below is an instruction that describes a task"
_ALPACA_INPUT = ", paired with an input that provides further context"
_ALPACA_REQUEST = ". Write a response that appropriately completes the request."
_INPUT = "\n\n### Input:\n"

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
    "alpaca": (
        "{{ bos_token or '' }}"
        "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
        f"{{% else %}}{{{{ '{_ALPACA}' }}}}"
        f"{{% if {_INPUT!r} in messages[0]['content'] %}}{{{{ '{_ALPACA_INPUT}' }}}}{{% endif %}}"
        f"{{{{ '{_ALPACA_REQUEST}' }}}}{{% endif %}}"
        "{% for message in messages %}"
        "{% if message['role'] == 'user' %}"
        "{{ '\n\n### Instruction:\n' + message['content'] + '\n\n### Response:' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}"
        "{% endfor %}"
    ),
}


def alpaca_message(instruction: str, input: str = "") -> str:
    r"""Instruction and input of a row as one message, for the template "alpaca".

    >>> alpaca_message("Translate.", "Hund")
    'Translate.\n\n### Input:\nHund'
    """
    return f"{instruction}{_INPUT}{input}" if input.strip() else instruction
