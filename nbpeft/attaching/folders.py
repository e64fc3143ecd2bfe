"""An adapter's folder, read without trusting it: PEFT's format, or that of nbpeft's own shelf.

JSON and safetensors are read and nothing else, never a pickle; PEFT sees a copy of the config
without whatever would name something else to load or run.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import task_of
from nbpeft.errors import AdapterError, NbPeftError, did_you_mean, quoted
from nbpeft.methods import methods
from nbpeft.methods._peft import RESERVED
from nbpeft.methods._stored import name_of, peft_types
from nbpeft.quiet import quiet

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.mounts import Mount

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
TUNED, HEAD = "tuned_parameters.json", "head.json"
MOST_JSON = 4_000_000
"""Bytes of a JSON file that is still read: a long loss curve lies beside some adapters."""

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
class Found:
    """What lay in a folder."""

    mount: Mount
    method: str
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def read(root: nn.Module, folder: Path, address: str) -> Found:
    """Whatever adapter lies there; AdapterError says why it can't be had."""
    readers: dict[str, Callable[[nn.Module, Path], Found]] = {
        CONFIG: _peft, TUNED: _tuned, HEAD: _head,
    }  # fmt: skip
    for name, reader in readers.items():
        if (folder / name).is_file():
            try:
                return _with_head(reader(root, folder), root, folder)
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


def _peft(root: nn.Module, folder: Path) -> Found:
    """One of PEFT's, by a copy of its config that is harmless."""
    from peft import PeftConfig

    from nbpeft.mounts import elsewhere

    told = read_json(folder / CONFIG)
    _check_weights(folder)
    with tempfile.TemporaryDirectory(prefix="nbpeft-") as temporary:
        safe = Path(temporary)
        (safe / CONFIG).write_text(json.dumps(_harmless(told, root)))
        _link(folder / WEIGHTS, safe / WEIGHTS)
        with quiet():
            config = PeftConfig.from_pretrained(str(safe))
            mount = elsewhere.load(root, safe)
    return Found(mount, name_of(config), _settings(config), _notes(told, root))


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


def _tuned(root: nn.Module, folder: Path) -> Found:
    """Tuned values of the base's parameters, as nbpeft's shelf has them."""
    told = read_json(folder / TUNED)
    method = methods.get(str(told.get("method")))
    return Found(method.load(root, folder), method.name, _rest(told))


def _head(root: nn.Module, folder: Path) -> Found:
    """A classifier's head, as nbpeft's shelf has it."""
    told = read_json(folder / HEAD)
    method = methods.get(str(told.get("method")))
    settings = {word: value for word, value in _rest(told).items() if word != "dropout"}
    return Found(method.load(root, folder), method.name, settings)


def _with_head(found: Found, root: nn.Module, folder: Path) -> Found:
    """With the head that lies beside an adapter of nbpeft's shelf."""
    from nbpeft.mounts import headed

    if (folder / HEAD).is_file():
        read_json(folder / HEAD)
    return dataclasses.replace(found, mount=headed.joined(found.mount, root, folder))


def _rest(told: Mapping[str, Any]) -> dict[str, Any]:
    return {word: value for word, value in told.items() if word != "method"}


def read_json(path: Path) -> dict[str, Any]:
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
