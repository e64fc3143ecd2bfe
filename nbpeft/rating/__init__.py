"""Answers rated by a person, blind: what is rated grows a data set to train on.

`request` says what can be asked for, `turns` which adapter answers what, `answering` writes the
answers, `deck` is the game of cards that is played with them, without a widget; `book` keeps what
was rated in a file, `ratings` is that as rows, `rating` holds all of it together and `beginning`
makes one, `summary` is what is shown as a table, `view` the buttons and keys, `cards` their HTML.
"""

from nbpeft.rating.beginning import rate
from nbpeft.rating.rating import Rating
from nbpeft.rating.ratings import Ratings
from nbpeft.rating.request import RateRequest, rate_options

__all__ = ["RateRequest", "Rating", "Ratings", "rate", "rate_options"]
