"""How a prompt is written for a model, in training and again when answering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from nbpeft.data.reading.examples import Pair, Text, Written
from nbpeft.errors import DataError, listed, quoted

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Kind = Literal["chat", "plain", "join", "text"]

PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '' if loop.first else '\\n' }}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{{ eos_token | default('', true) if message['role'] == 'assistant' }}"
    "{% endfor %}"
    "{{ '\\nAssistant:' if add_generation_prompt }}"
)
"""How chats are written for a tokenizer without a chat template: a line a message, opened by
`System:`, `User:` or `Assistant:`, and the tokenizer's end token after each answer. An answer
begins with the space after the colon, as words do in most vocabularies."""


@dataclass(frozen=True)
class Rendering:
    """How prompts are written; saved with an adapter, so that it is asked as it was trained."""

    kind: Kind
    """'chat': the tokenizer's chat template; 'plain': `template`, for chats and a tokenizer
    without one; 'join': prompt and completion as they stand; 'text': raw text."""
    template: str | None = None
    """The jinja text of a 'plain' rendering, kept so that a later nbpeft asks the same way."""
    apart: bool = False
    """Whether prompt and answer are texts of their own, as an encoder-decoder has them; such a
    rendering is 'chat' or 'join'."""

    def prompt_text(
        self, tokenizer: PreTrainedTokenizerBase, prompt: str | list[dict[str, Any]]
    ) -> str:
        """A prompt as the model reads it, with the opening of the answer at its end.

        Args:
            prompt: a string (for chats, a user's one message) or messages of {role, content}.

        Raises:
            DataError: messages for a model that reads plain text, or that the template refuses.
        """
        if self.kind in ("join", "text"):
            if self.apart and not isinstance(prompt, str) and is_question(prompt):
                return str(prompt[0]["content"])
            if not isinstance(prompt, str):
                raise DataError(
                    "A chat can't be put to a model that reads plain text (its tokenizer has no "
                    "chat template); give the prompt as a string."
                )
            return prompt
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        try:
            return self.chats(tokenizer, [messages], opening=True)[0]
        except template_errors() as error:
            raise DataError(
                f"The prompt {quoted(prompt)} can't be written as a chat: {one_line(error)}"
            ) from error

    def prompt_ids(
        self, tokenizer: PreTrainedTokenizerBase, prompt: str | list[dict[str, Any]]
    ) -> list[int]:
        """Token ids of `prompt_text`, as in training: one BOS where the model expects one.

        For an encoder also what the tokenizer puts after a text, mostly its end token.

        Raises:
            DataError: as prompt_text.
        """
        text = self.prompt_text(tokenizer, prompt)
        with undisturbed(tokenizer):
            ids = list(encode(tokenizer, [text])["input_ids"][0])
            before, after = frame(tokenizer)
        ids = opened(ids, [] if self.kind == "chat" else before)
        return closed(ids, after) if self.apart else ids

    def chats(
        self,
        tokenizer: PreTrainedTokenizerBase,
        chats: Sequence[Sequence[Mapping[str, Any]]],
        opening: bool = False,
    ) -> list[str]:
        """Chats as text; with `opening`, what opens the assistant's answer at the end of each.

        Raises:
            what template_errors() lists: the template refuses one of them.
        """
        if not chats:
            return []
        texts = tokenizer.apply_chat_template(
            cast("Any", chats),
            chat_template=self.template,
            add_generation_prompt=opening,
            tokenize=False,
        )
        return cast("list[str]", texts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        apart = {"apart": True} if self.apart else {}
        return {"kind": self.kind, "template": self.template, **apart}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Rendering:
        """The inverse of to_dict.

        Raises:
            DataError: a kind that this version doesn't know.
        """
        if values["kind"] not in get_args(Kind):
            raise DataError(
                f"The rendering {quoted(values['kind'])} is not known; known are "
                f"{listed(get_args(Kind))}. Was it saved by a newer nbpeft?"
            )
        return cls(values["kind"], values["template"], values.get("apart", False))


def default_rendering(tokenizer: PreTrainedTokenizerBase, *, apart: bool = False) -> Rendering:
    """For a bare model: the chat template if there is one, else prompts as they stand.

    Args:
        apart: whether the model is an encoder-decoder.
    """
    return Rendering("chat" if tokenizer.chat_template else "join", apart=apart)


def rendering_of(
    first: Written, tokenizer: PreTrainedTokenizerBase, *, apart: bool = False
) -> Rendering:
    """How a data set is written, by its first example.

    Args:
        apart: whether the model is an encoder-decoder, which has no use for raw text.
    """
    if apart:
        return default_rendering(tokenizer, apart=True)
    if isinstance(first, Text):
        return Rendering("text")
    if tokenizer.chat_template:
        return Rendering("chat")
    return Rendering("join") if isinstance(first, Pair) else Rendering("plain", PLAIN_TEMPLATE)


def template_errors() -> tuple[type[Exception], ...]:
    """What a chat template raises: its own refusals, and Python's errors inside it."""
    from jinja2 import TemplateError

    return (TemplateError, TypeError, ValueError, KeyError, AttributeError)


def one_line(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def undisturbed(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Run the block and leave the tokenizer as it was.

    A call of a fast tokenizer switches off truncation and padding that its backend had set.
    """
    if not tokenizer.is_fast:
        yield
        return
    backend = cast("Any", tokenizer).backend_tokenizer
    truncation, padding = backend.truncation, backend.padding
    encode_special_tokens = backend.encode_special_tokens
    try:
        yield
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)
        backend.encode_special_tokens = encode_special_tokens


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], *, answers: bool = False
) -> BatchEncoding:
    """Token ids of texts, nothing added, cut or padded, and no word about long ones.

    Args:
        answers: whether they are what an encoder-decoder writes: translation tokenizers have other
            tokens for those.
    """
    return tokenizer(
        **{"text_target" if answers else "text": texts},
        add_special_tokens=False,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )


def frame(
    tokenizer: PreTrainedTokenizerBase, *, answers: bool = False
) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer itself puts before and after a text, such as BOS; often none.

    Args:
        answers: as `encode` takes it.
    """
    word = "text_target" if answers else "text"
    framed = list(tokenizer(**{word: "a"}, verbose=False)["input_ids"])
    bare = list(encode(tokenizer, ["a"], answers=answers)["input_ids"][0])
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            return framed[:start], framed[start + len(bare) :]
    return [], []


def opened(ids: list[int], before: list[int]) -> list[int]:
    """`ids` with `before` in front, unless the text wrote it there already."""
    return ids if before and ids[: len(before)] == before else before + ids


def closed(ids: list[int], after: list[int]) -> list[int]:
    """`ids` with `after` at their end, unless the text wrote it there already."""
    return ids if after and ids[-len(after) :] == after else ids + after


def is_question(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a chat is one message of a user: a prompt like any other."""
    return [message["role"] for message in messages] == ["user"]


def shared(first: Sequence[object], second: Sequence[object]) -> int:
    """How many items the two have in common at their start."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))
