"""The tokenizers that the data tests are held against, built here: nothing is downloaded."""

from __future__ import annotations

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORGETFUL = (  # drops the thoughts of every answer but the last, as reasoning models' templates do
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate\nuser, assistant') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(
    template: str | None = None,
    *,
    bos: bool = False,
    eos: str | None = "</s>",
    pad: str | None = "<pad>",
    merges: list[tuple[str, str]] | None = None,
) -> PreTrainedTokenizerFast:
    """A byte-level BPE, a token a byte but for `merges`; with `bos`, it opens texts by itself."""
    merges = merges or []
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    core = tokenizers.Tokenizer(
        models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=merges)
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    specials = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
    core.add_special_tokens(specials)
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    given = {"eos_token": eos, "pad_token": pad, "bos_token": "<s>" if bos else None}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=16,
        **{name: token for name, token in given.items() if token},
    )
    tokenizer.chat_template = template
    return tokenizer


def trained(tokenizer: PreTrainedTokenizerBase, row: dict[str, list[int]]) -> str:
    """What is trained in a row, as text."""
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        assert label in (token, -100)
    return tokenizer.decode([label for label in row["labels"] if label != -100])


def test_a_token_is_a_byte_here() -> None:
    tokenizer = byte_tokenizer(bos=True, merges=[("a", "b")])
    ids = tokenizer("abé</s>")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "ab", "Ã", "©", "</s>"]
