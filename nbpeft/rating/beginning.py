"""From names and prompts to a rating: who answers what, and where it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from nbpeft.architectures import architecture_of
from nbpeft.comparison import CompareRequest, Prompt
from nbpeft.comparison.questions import questions
from nbpeft.errors import ModelError, RequestError, quoted
from nbpeft.rating.answering import Answerer
from nbpeft.rating.book import FOLDER, Book
from nbpeft.rating.rating import AHEAD, Rating
from nbpeft.rating.ratings import Ratings
from nbpeft.rating.request import MAGIC, ROWS, RateRequest
from nbpeft.rating.turns import draw, unrated
from nbpeft.session.models import Handle
from nbpeft.session.session import BASE_WORDS, Session


def rate(
    session: Session,
    handle: Handle,
    tokenizer: Any,
    request: RateRequest,
    *,
    given: Sequence[Prompt] | None,
    data: Any,
    namespace: MutableMapping[str, Any],
) -> Rating:
    """Begin a rating: its rows are bound to the variable, and its first card is written.

    Args:
        given: prompts as they were typed.
        data: rows that have no name, else those that the request names.
        namespace: the user's variables.

    Raises:
        AdapterError: a name that isn't there.
        ModelError: a model that writes no text.
        RequestError: no prompts, or a variable that holds something else.
        DataError: data that can't be read, a book that can't.
    """
    if architecture_of(handle.root) == "encoder":
        raise ModelError(
            f"{type(handle.root).__name__} writes no text, so there are no answers to rate; "
            "a model that writes is loaded with AutoModelForCausalLM.from_pretrained."
        )
    names = request.names or ("base", *session.names(handle))
    labels = [n if n in BASE_WORDS else session.record(handle, n).label for n in names]
    labels = list(dict.fromkeys("base" if label in BASE_WORDS else label for label in labels))
    prompts = _questions(request, given, data, namespace) or session.sample_prompts(handle, labels)
    if not prompts:
        raise RequestError(
            f"A rating wants prompts: {MAGIC} {' '.join(names)}, then a prompt a line; or --data X."
        )
    book = book_of(session, namespace, request.into)
    turns = draw(request, labels, _distinct(prompts))
    answerer = Answerer(session, handle.root, tokenizer, request.max_new_tokens)
    rating = Rating(request, unrated(turns, book.rows), answerer, book)
    # A card at once, where the first few turns give one; the others are written between cells.
    for _ in range(AHEAD):
        if rating.wants_more(1):
            rating.deal_one()
    namespace[request.into] = rating.ratings
    return rating


def _questions(
    request: RateRequest,
    given: Sequence[Prompt] | None,
    data: Any,
    namespace: Mapping[str, Any],
) -> list[Prompt] | None:
    """The prompts that were given, or those of the data; None without either."""
    count = request.count
    if count is None and request.rows is None and (data is not None or request.data is not None):
        count = ROWS
    words = CompareRequest(
        data=request.data, columns=request.columns, rows=request.rows, count=count
    )
    prompts, _ = questions(words, given, data, namespace)
    return prompts


def _distinct(prompts: Sequence[Prompt]) -> list[Prompt]:
    return list({json.dumps(prompt): prompt for prompt in prompts}.values())


def book_of(session: Session, namespace: Mapping[str, Any], into: str) -> Book:
    """Where what is rated is kept; RequestError where its variable holds something else."""
    _check_free(namespace, into)
    return Book(session.shelf.folder.parent / FOLDER, into)


def _check_free(namespace: Mapping[str, Any], name: str) -> None:
    value = namespace.get(name)
    if value is not None and not isinstance(value, Ratings):
        raise RequestError(
            f"The variable {quoted(name)} holds something else ({type(value).__name__}); give "
            "the ratings another name: --into NAME."
        )
