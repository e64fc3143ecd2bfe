"""Adapters from elsewhere: a folder or a repository of the hub that PEFT, or another shelf, wrote.

What comes from elsewhere isn't trusted: JSON and safetensors are read and nothing else, never a
pickle; PEFT sees a copy of the config without whatever would name something else to load or run.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tempfile
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import task_of
from nbpeft.data.rendering import Kind
from nbpeft.errors import AdapterError, NbPeftError, did_you_mean, listed, quoted
from nbpeft.hub import HUB, download
from nbpeft.methods import methods
from nbpeft.methods._peft import RESERVED
from nbpeft.methods._stored import name_of, peft_types
from nbpeft.quiet import quiet
from nbpeft.session.models import Handle
from nbpeft.session.names import LONGEST, check_name
from nbpeft.session.record import Record
from nbpeft.session.session import Session
from nbpeft.session.shelf import RECORD
from nbpeft.typed import is_chat

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.mounts import Mount

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
TUNED, HEAD = "tuned_parameters.json", "head.json"
MOST_JSON = 4_000_000
"""Bytes of a JSON file that is still read: a long loss curve lies beside some adapters."""
OBJECTIVE = "elsewhere"
"""What a record has for its objective where nothing says what trained it."""

UNSAFE = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "revision", "runtime_config", "inference_mode",
        "prompt_tuning_init", "prompt_tuning_init_text", "prompt_tuning_init_state_dict_path",
        "tokenizer_name_or_path", "tokenizer_kwargs", "megatron_config", "megatron_core",
        "corda_config", "lora_ga_config", "eva_config",
    }
)  # fmt: skip
"""Fields of PEFT's configs that name something to load, import or compute an initialisation from;
a trained adapter needs none of them."""
REFUSED = {
    "layer_replication": "it repeats layers of the model, which can't be undone",
    "alora_invocation_tokens": "it waits for tokens (aLoRA) that only PEFT's wrapper sees",
    "arrow_config": "it routes among other adapters (Arrow)",
}
UNFIT = {
    "multitask_prompt_tuning": "it wants task_ids with every call",
    "poly": "it wants task_ids with every call",
    "xlora": "it is a mixture of other adapters, which are not in it",
    "shadow": "it is a model beside the model",
}


@dataclass(frozen=True)
class Loaded:
    """An adapter that was taken in."""

    record: Record
    notes: tuple[str, ...]
    """What the user should know of it."""


def is_address(given: str) -> bool:
    """Whether this is a path or hub:owner/name, and no adapter's name."""
    if given.startswith((HUB, ".", "~")) or "/" in given or "\\" in given:
        return True
    return any(Path(given, name).is_file() for name in (CONFIG, TUNED, HEAD))


def load(session: Session, handle: Handle, address: str, name: str | None = None) -> Loaded:
    """Take in the adapter at a path or hub:owner/name, under `name` or that of its folder.

    It lives in this kernel only, until `nbpeft.save(name)`. A folder of this session's own shelf is
    the adapter that it is.

    Raises:
        AdapterError: there is none, it is pickled, or it doesn't fit this model.
    """
    folder = download(address) if address.startswith(HUB) else _folder(address)
    own = _own_record(session, folder)
    if own is not None and name is None:
        return Loaded(session.record(handle, own.label), ())
    with handle.bare():
        found = _read(handle.root, folder, address)
    told = _told(folder)
    record = Record(
        name=check_name(name) if name else _name(told, address, folder),
        version=1,
        method=found.method,
        objective=OBJECTIVE,
        model=handle.fingerprint,
        trainable_parameters=found.mount.trainable_parameters,
        total_parameters=handle.total_parameters,
        settings={"method": dict(found.settings)},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if told is not None:
        record = replace(told, **{word: getattr(record, word) for word in _ANEW}, path=None, size=0)
    record = replace(record, data={**_asked(record.data), "from": address})
    return Loaded(session.keep_unsaved(handle, record, found.mount), found.notes)


_ANEW = ("name", "version", "method", "model", "trainable_parameters", "total_parameters")
"""What isn't believed of a record that lay in the folder."""


def _asked(data: Mapping[str, Any]) -> dict[str, Any]:
    """How it was asked in training, where that is what a run writes; a comparison goes by it."""
    kept: dict[str, Any] = {}
    rendering, prompts = data.get("rendering"), data.get("prompts")
    if isinstance(rendering, dict) and rendering.keys() <= {"kind", "template"}:
        known = rendering.get("kind") in typing.get_args(Kind)
        if known and isinstance(rendering.get("template"), str | None):
            kept["rendering"] = rendering
    if isinstance(prompts, list) and all(isinstance(p, str) or is_chat(p) for p in prompts):
        kept["prompts"] = prompts
    return kept


@dataclass(frozen=True)
class _Found:
    mount: Mount
    method: str
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def _read(root: nn.Module, folder: Path, address: str) -> _Found:
    """Whatever adapter lies there; AdapterError says why it can't be had."""
    readers: dict[str, Callable[[nn.Module, Path], _Found]] = {
        CONFIG: _peft, TUNED: _tuned, HEAD: _head,
    }  # fmt: skip
    for name, reader in readers.items():
        if (folder / name).is_file():
            try:
                return reader(root, folder)
            except NbPeftError as error:
                raise AdapterError(f"{quoted(address)} can't be loaded: {error}") from error
            except Exception as error:  # what a config of anyone's making brings on has no root
                reason = quoted(" ".join(str(error).split()) or type(error).__name__, 200)
                raise AdapterError(f"{quoted(address)} can't be loaded: {reason[1:-1]}") from error
    if (folder / "config.json").is_file():
        raise AdapterError(
            f"{quoted(address)} is a whole model and no adapter; load it with "
            "transformers' from_pretrained."
        )
    raise AdapterError(f"{quoted(address)} holds no adapter: there is no {CONFIG} in it.")


def _peft(root: nn.Module, folder: Path) -> _Found:
    """One of PEFT's, by a copy of its config that is harmless."""
    from peft import PeftConfig

    from nbpeft.mounts import elsewhere

    told = _json(folder / CONFIG)
    _check_weights(folder)
    with tempfile.TemporaryDirectory(prefix="nbpeft-") as temporary:
        safe = Path(temporary)
        (safe / CONFIG).write_text(json.dumps(_harmless(told, root)))
        _link(folder / WEIGHTS, safe / WEIGHTS)
        with quiet():
            config = PeftConfig.from_pretrained(str(safe))
            mount = elsewhere.load(root, safe)
    return _Found(mount, name_of(config), _settings(config), _notes(told, root))


def _harmless(told: Mapping[str, Any], root: nn.Module) -> dict[str, Any]:
    """A config without what isn't to be followed; AdapterError where it can't do without."""
    kind = told.get("peft_type")
    known = peft_types()
    if not isinstance(kind, str) or kind.lower() not in known:
        near = did_you_mean(kind.lower(), known) if isinstance(kind, str) else ""
        raise AdapterError(f"PEFT has no type {quoted(kind)}.{near} A newer PEFT may have it.")
    if kind.lower() in UNFIT:
        raise AdapterError(f"{UNFIT[kind.lower()]}; use PEFT itself for it.")
    for word, why in REFUSED.items():
        if told.get(word):
            raise AdapterError(f"{why}; use PEFT itself for it.")
    task, own = told.get("task_type"), task_of(root)
    if task is not None and task != own:
        raise AdapterError(f"it is for models of the kind {quoted(task)}, and this is a {own}.")
    return {word: v for word, v in told.items() if word not in UNSAFE} | {"task_type": own}


def _check_weights(folder: Path) -> None:
    if (folder / WEIGHTS).is_file():
        return
    if (folder / PICKLE).is_file():
        raise AdapterError(
            f"its weights are a pickle ({PICKLE}), which can run code and is never read here. If "
            "you trust it: PeftModel.from_pretrained(model, folder).save_pretrained(new_folder) "
            "writes safetensors."
        )
    raise AdapterError(f"it has no {WEIGHTS}; a pickle ({PICKLE}) is never read here.")


def _settings(config: Any) -> dict[str, Any]:
    """The fields of PEFT's config that aren't its defaults, ready for JSON."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = config.__dict__.get(field.name)
        value = sorted(value) if isinstance(value, set) else getattr(value, "value", value)
        plain = isinstance(value, str | int | float | bool | list | dict)
        if plain and value not in (field.default, [], {}) and field.name not in RESERVED:
            found[field.name] = value
    return found


def _notes(told: Mapping[str, Any], root: nn.Module) -> tuple[str, ...]:
    base, own = told.get("base_model_name_or_path"), root.name_or_path
    if not isinstance(base, str) or not base or base == own:
        return ()
    return (f"it was made for {quoted(base)}; its shapes fit this model, look whether it does",)


def _tuned(root: nn.Module, folder: Path) -> _Found:
    """Tuned values of the base's parameters, as nbpeft's shelf has them."""
    from nbpeft.mounts import parameters

    told = _json(folder / TUNED)
    method = _method(told)
    return _Found(parameters.load(root, folder), method, _rest(told))


def _head(root: nn.Module, folder: Path) -> _Found:
    """A classifier's head, as nbpeft's shelf has it."""
    from nbpeft.mounts import heads

    told = _json(folder / HEAD)
    method, settings = _method(told), {k: v for k, v in _rest(told).items() if k != "dropout"}
    return _Found(heads.load(root, folder), method, settings)


def _method(told: Mapping[str, Any]) -> str:
    return methods.get(str(told.get("method"))).name


def _rest(told: Mapping[str, Any]) -> dict[str, Any]:
    return {word: value for word, value in told.items() if word != "method"}


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MOST_JSON:
        raise AdapterError(f"{path.name} is too large to be a config.")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise AdapterError(f"{path.name} is no JSON.") from None
    if not isinstance(told, dict):
        raise AdapterError(f"{path.name} holds no config.")
    return told


def _link(target: Path, place: Path) -> None:
    """A link, or a copy where the system has none."""
    try:
        place.symlink_to(target.resolve())
    except OSError:
        shutil.copyfile(target, place)


def _folder(address: str) -> Path:
    folder = Path(address).expanduser()
    if folder.is_dir():
        return folder.absolute()
    if folder.is_file():
        raise AdapterError(
            f"{quoted(address)} is a file; give the folder in which {CONFIG} and {WEIGHTS} lie."
        )
    beside = [f"{folder.parent}/{p.name}" for p in folder.parent.glob("*")][:1000]
    likely = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", address)
    hub = f" For the hub type hub:{address}." if likely else ""
    raise AdapterError(
        f"There is no folder {quoted(address)}.{did_you_mean(str(folder), beside)}{hub}"
    )


def _own_record(session: Session, folder: Path) -> Record | None:
    """The adapter of this session's shelf that lies in that folder."""
    return next((r for r in session.shelf.records() if r.path == folder.resolve()), None)


def _told(folder: Path) -> Record | None:
    """What another shelf wrote of an adapter; None when it is none, or broken."""
    try:
        return Record.from_dict(_json(folder / RECORD), folder, 0)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, AdapterError):
        return None


def _name(told: Record | None, address: str, folder: Path) -> str:
    """A name for what has none here: its own on another shelf, or the folder's, made legal."""
    given = told.name if told else address.rstrip("/").rpartition("/")[2]
    given = folder.name if given in (".", "..", "~") else given
    name = re.sub(r"[^A-Za-z0-9_.-]+|\.\.+", "_", given).strip(".-_")[:LONGEST]
    try:
        return check_name(name)
    except AdapterError:
        raise AdapterError(
            f"{quoted(given)} can't be an adapter's name; give it one: "
            f"%peft_attach {listed([address])} --as NAME."
        ) from None
