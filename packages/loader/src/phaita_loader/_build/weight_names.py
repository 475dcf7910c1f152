"""Match the names of tensors in files with the names in a model: as they are, or as transformers renames them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["NotFast", "places_of"]


class NotFast(Exception):
    """The reason why the model has to be built by `from_pretrained`."""


def places_of(model: Any, own: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, str], list[Any]]:
    """Return the model's name for each name in the files, where it has one, and the renamings that were used.

    `own`: the model's `state_dict(keep_vars=True)`. Raises NotFast where values would have to be converted, or two
    names mean one tensor.
    """
    listed, prefix = list(names), model.base_model_prefix
    places = _distinct({name: _plain_place(name, own, prefix) for name in listed})
    # Old names of norms are changed even where they lie beside the model, and saving changes them back.
    old = any(name.endswith((".beta", ".gamma")) for name in listed)
    if not old and {id(own[place]) for place in places.values()} == {id(tensor) for tensor in own.values()}:
        return places, []
    return _places_by_renaming(model, listed, own)


def _plain_place(name: str, own: Mapping[str, Any], prefix: str) -> str | None:
    """Return the model's name for a name in the files: the prefix of the base model may be added or left out."""
    if name.startswith(prefix) and name[len(prefix) + 1 :] in own:
        return name[len(prefix) + 1 :]
    if f"{prefix}.{name}" in own:
        return f"{prefix}.{name}"
    return name if name in own else None


def _distinct(places: Mapping[str, str | None]) -> dict[str, str]:
    """Return the names that have a place. Raises NotFast where two of them have the same."""
    found = {name: place for name, place in places.items() if place is not None}
    if len(set(found.values())) < len(found):
        raise NotFast("the files have two tensors for one place")
    return found


def _places_by_renaming(model: Any, names: list[str], own: Mapping[str, Any]) -> tuple[dict[str, str], list[Any]]:
    """Rename as transformers does. Raises NotFast where its renaming can't be called as it is here."""
    # These modules of transformers are not public: the next version may differ.
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import PrefixChange, WeightRenaming, rename_source_key

        changes = get_model_conversion_mapping(model)
        renamings = [change for change in changes if type(change) in {PrefixChange, WeightRenaming}]
        others = [change for change in changes if change not in renamings]

        def place(name: str) -> str | None:
            found, converted = rename_source_key(name, renamings, others, model.base_model_prefix, own)
            if converted is not None:
                raise NotFast(f"{name} is converted")
            return found if found in own else _plain_place(name, own, model.base_model_prefix)

        places = _distinct({name: place(name) for name in names})
        return places, [change for change in renamings if change.was_used()]
    except (ImportError, AttributeError, TypeError) as error:
        raise NotFast(f"this version of transformers renames in another way: {error}") from error
