"""A request, written as a cell, is read as that very request."""

from __future__ import annotations

import pytest
from written import EVIL, REQUESTS, read

from nbpeft.request import Request
from nbpeft.writing import cell_of


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_what_is_written_is_read_again(request_):
    found, rows = read(cell_of(request_))
    assert found == request_
    assert rows is None


def test_inline_rows_stand_in_the_body():
    rows = [{"messages": [{"role": "user", "content": EVIL}]}] * 2
    assert read(cell_of(Request("a", rank=4), rows)) == (Request("a", rank=4), rows)


def test_what_is_plain_stands_on_the_line_and_the_rest_below():
    request = Request("a", data="chats", method="ia3", learning_rate=1e-3, epochs=2)
    assert (
        cell_of(request)
        == "%%finetune a --data chats --method ia3\nepochs: 2\nlearning_rate: 0.001"
    )
    assert cell_of(Request("a", data="chats")) == "%finetune a --data chats"
    assert "$HOME" not in cell_of(REQUESTS["hostile"]).partition("\n")[0]
