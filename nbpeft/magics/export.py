"""%peft_export: an adapter as one file to take away."""

from __future__ import annotations

from nbpeft import api
from nbpeft.errors import RequestError
from nbpeft.typed import known_words, split_line

TEXTS = frozenset({"to"})


def peft_export(line: str) -> None:
    """Write an adapter as one zip to take away.

    %peft_export NAME            NAME.zip beside the notebook: a folder of safetensors and JSON
                                 that PeftModel.from_pretrained loads once it is unzipped
    --to PATH                    another file; nothing is written over

    Of adapters that PEFT has no format for (full, bitfit, heads, …) %peft_attach loads the folder.
    nbpeft.json in it has the settings, the figures and a few prompts of the data.
    """
    words, names = split_line(line, texts=TEXTS)
    known_words(words, TEXTS, "%peft_export")
    if len(names) != 1:
        raise RequestError(f"%peft_export wants one NAME, {len(names)} were given.")
    api.export_adapter(names[0], **words)
