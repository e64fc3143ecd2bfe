"""The tokens that end an answer: the tokenizer's end token, or the template's end of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nbpeft.data.tokens.rendering import Rendering, encode, template_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "nbpeft-answer"


@dataclass(frozen=True)
class Ends:
    """What stands at the end of an answer."""

    tokens: frozenset[int]
    """Any of them ends it; empty where there is none."""
    shown: str
    """The first of them, as text: '<|im_end|>'; empty where there is none."""
    closing: str
    """What follows an answer's content, up to and with the first of them."""
    reach: int
    """They stand among so many tokens at an answer's end: a newline may follow them."""

    def within(self, tokens: Sequence[int | None], start: int, stop: int) -> bool:
        """Whether the answer at tokens[start:stop] ends with one of them."""
        return not self.tokens.isdisjoint(tokens[max(start, stop - self.reach) : stop])


def ends_of_text(tokenizer: PreTrainedTokenizerBase, after: list[int]) -> Ends:
    """Where no template writes the end: the tokenizer's own end token.

    Args:
        after: the ids that the tokenizer itself puts after a text.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        return Ends(frozenset(), "", "", 0)
    return Ends(frozenset({int(eos)}), str(tokenizer.eos_token), "", len(after) + 1)


def ends_of_chat(
    tokenizer: PreTrainedTokenizerBase, rendering: Rendering, messages: list[dict[str, Any]]
) -> Ends:
    """What the template writes after an answer, seen by giving it an answer that is known.

    Args:
        messages: any chat that the template takes, ending with an answer.
    """
    probe = [*messages[:-1], {"role": "assistant", "content": PROBE}]
    try:
        [text] = rendering.chats(tokenizer, [probe])
    except template_errors():
        text = ""
    tail = text.rpartition(PROBE)[2] if PROBE in text else ""
    ids = list(encode(tokenizer, [tail])["input_ids"][0]) if tail else []
    eos = ends_of_text(tokenizer, [])
    added = tokenizer.added_tokens_decoder
    opening = {tokenizer.bos_token_id, tokenizer.unk_token_id} - eos.tokens
    found = [token for token in ids if token in (added.keys() | eos.tokens) - opening]
    if not found:
        return replace(eos, closing=eos.shown)
    shown = str(tokenizer.convert_ids_to_tokens(found[0]))
    before, end, _ = tail.partition(shown)
    # A call of a tool may end otherwise than the answer that was given: Llama's <|eom_id|>.
    special = {token for token, kind in added.items() if kind.special} - opening
    return Ends(eos.tokens | {*found} | special, shown, before + end, len(ids))
