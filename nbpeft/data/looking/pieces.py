"""Tokens as the text that each of them writes, long stretches shortened in their middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nbpeft.data.tokens.row import NOT_TRAINED
from nbpeft.rendering import Gap, Token
from nbpeft.rendering.tokens import Kind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEAD, TAIL = 80, 40
"""Tokens that are shown of a longer stretch of one kind: at its start and at its end."""
STRETCHES = 12
"""Stretches that are shown at the start of a row, and as many at its end."""
BROKEN = "\ufffd"
"""What decoding writes for a character of which tokens are missing."""
LONGEST = 4
"""Tokens (bytes) that one character may take."""


def pieces(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], labels: Sequence[int | None]
) -> tuple[Token | Gap, ...]:
    """A row's tokens as they are shown.

    Args:
        ids: of the whole row.
        labels: of each of them; None where it is cut off.
    """
    stretches = _stretches(ids, labels)
    shown: list[Token | Gap] = []
    left_out = range(STRETCHES, len(stretches) - STRETCHES)
    for place, (kind, start, stop) in enumerate(stretches):
        if place in left_out:
            if place == left_out.start:
                shown.append(Gap(stretches[left_out.stop - 1][2] - start))
            continue
        if stop - start <= HEAD + TAIL:
            shown += (Token(text, kind) for text in texts(tokenizer, ids, start, stop))
            continue
        shown += (Token(text, kind) for text in texts(tokenizer, ids, start, start + HEAD))
        shown.append(Gap(stop - start - HEAD - TAIL))
        shown += (Token(text, kind) for text in texts(tokenizer, ids, stop - TAIL, stop))
    return tuple(shown)


def texts(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], start: int, stop: int
) -> Iterator[str]:
    """The text that each token of ids[start:stop] adds to those before it.

    Tokens that only together make a character are one text. Decoding a token alone would lose the
    space before a word in some vocabularies, so the one before is decoded with it.
    """

    def decoded(first: int, last: int) -> str:
        return str(
            tokenizer.decode(
                ids[first:last], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    context, done = max(0, start - 1), start
    for end in range(start + 1, stop + 1):
        text = decoded(context, end)[len(decoded(context, done)) :]
        if text.endswith(BROKEN) and end - done < LONGEST and end < stop:
            continue
        yield text
        context, done = end - 1, end


def _stretches(ids: list[int], labels: Sequence[int | None]) -> list[tuple[Kind, int, int]]:
    """(kind, first, past the last) of tokens of one kind in a row."""
    found: list[tuple[Kind, int, int]] = []
    for place in range(len(ids)):
        kind: Kind = "cut" if labels[place] is None else "trained"
        if labels[place] == NOT_TRAINED:
            kind = "read"
        if found and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1], place + 1)
        else:
            found.append((kind, place, place + 1))
    return found
