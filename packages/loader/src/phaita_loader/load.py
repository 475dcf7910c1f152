"""The verb: fetch, verify, initialise. Model and tokenizer come from one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeVar

from phaita_loader._build.cuda_context import warm
from phaita_loader._build.engines import Engine
from phaita_loader._build.imports import Imports
from phaita_loader.errors import DeadlineExceeded, LoaderError
from phaita_loader.fetch import fetch
from phaita_loader.hub import Hub
from phaita_loader.initialise import (
    Way,
    initialise,
    initialise_config,
    initialise_tokenizer,
    refuse_engine,
    refuse_pickles,
    require_extra,
)
from phaita_loader.policy import Deadline, Policy
from phaita_loader.progress import Event, Listener, Plan, bar
from phaita_loader.request import ModelRequest
from phaita_loader.retry import SYSTEM, Clock
from phaita_loader.snapshot import Snapshot, Verify
from phaita_loader.verify import verify as verified

__all__ = ["Loaded", "load"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a request became.

    model: None for the kinds "tokenizer" and "config". tokenizer: None unless asked for. config: transformers'.
    path: how the model was built; "fast" where that gives what transformers' `from_pretrained` gives, bit by bit.
    engine: what read the weights then: "mapping", "ring" or a library's name. timings: seconds per step.
    """

    model: Any
    tokenizer: Any
    config: Any
    snapshot: Snapshot
    path: Way = "from_pretrained"
    engine: str | None = None
    timings: dict[str, float] = field(default_factory=dict)


def load(
    request: ModelRequest | str,
    *,
    hub: Hub | None = None,
    policy: Policy | None = None,
    tokenizer: bool = True,
    verify: Verify = "auto",
    listen: Listener | None = None,
    clock: Clock = SYSTEM,
    fast: bool = True,
    private_copy: bool = False,
    engine: Engine = "auto",
    **kwargs: Any,
) -> Loaded:
    """Take a model from the Hub to a ready device; `kwargs` go to the model's `from_pretrained`.

    While files are downloaded torch and transformers are imported. `fast=False` builds by `from_pretrained` in any
    case. On a CPU the fast way maps the weights, as `from_pretrained` does: pages that were not written to are the
    file's, and follow whoever changes it in place; `private_copy=True` reads them into memory of this process. `engine`
    takes safetensors to a device: "ring", "fastsafetensors", "instanttensor", "runai", or "auto".

    Raises ModelDownloadError where the bytes can't be had, InitialisationError where they make no model,
    DeadlineExceeded between any two steps, ValueError for a request that can't be meant, or a keyword that belongs to
    the request, the Hub or the Policy.
    """
    asked = ModelRequest(request) if isinstance(request, str) else request
    hub, policy = hub or Hub(), policy or Policy()
    steps = _Steps(asked, Deadline.after(policy.deadline, clock.now()), clock, clock.now(), {})
    _refuse_strays(kwargs)
    refuse_pickles(kwargs)
    require_extra(asked.kind)
    refuse_engine(engine, asked.device)
    imports = Imports()
    with bar() if listen is None else nullcontext(listen) as shown:
        told = shown if asked.kind in {"config", "tokenizer"} else _importing(imports, asked.device, shown)
        snapshot = steps.run(
            "fetch",
            lambda: fetch(
                asked, hub=hub, policy=policy, verify=verify, listen=told, clock=clock, deadline=steps.deadline
            ),
        )
    again: Verify = "size" if verify == "size" else "auto"  # `fetch` has digested all, and stamped it
    whole = steps.run("verify", lambda: verified(snapshot, hub.cache_dir, again, steps.check))
    words = config = built = None
    if asked.kind == "config":
        config = steps.run("config", lambda: initialise_config(whole, **kwargs))
    elif asked.kind == "tokenizer":
        words = steps.run("tokenizer", lambda: initialise_tokenizer(whole, **kwargs))
    else:
        if not imports.begun:
            warm(asked.device)
        steps.run("import", imports.finish)
        words = steps.run("tokenizer", lambda: initialise_tokenizer(whole)) if tokenizer else None
        build = partial(initialise, whole, fast=fast, private_copy=private_copy, engine=engine, check=steps.check)
        built = steps.run("initialise", lambda: build(**kwargs))
        config = built.model.config
    if built is None:
        return Loaded(None, words, config, snapshot, timings=steps.timings)
    return Loaded(built.model, words, config, snapshot, built.path, built.engine, steps.timings)


# transformers would take some of these, and silently leave them out for a folder, as which it gets the model.
_OWNERS = {
    "ModelRequest": {field.name for field in fields(ModelRequest)} - {"dtype"},
    "Hub": {"cache_dir", "endpoints", "force_download", "local_files_only", "offline", "proxies", "token"},
    "Policy": {"max_retries", *(field.name for field in fields(Policy))},
}


def _refuse_strays(kwargs: Mapping[str, Any]) -> None:
    for owner, names in _OWNERS.items():
        if stray := sorted(names & kwargs.keys()):
            raise ValueError(f"{', '.join(stray)}: not for load itself; what is like it belongs to {owner}(...)")


def _importing(imports: Imports, device: str | None, listen: Listener) -> Listener:
    """A listener that starts the imports when it is known that bytes will be waited for."""

    def heard(event: Event) -> None:
        if isinstance(event, Plan) and not imports.begun:
            warm(device)
            imports.start()
        listen(event)

    return heard


@dataclass(frozen=True, slots=True)
class _Steps:
    request: ModelRequest
    deadline: Deadline
    clock: Clock
    begin: float
    timings: dict[str, float]

    def check(self, when: str = "while cached files were read") -> None:
        if self.deadline.passed(self.clock.now()):
            raise DeadlineExceeded(f"the deadline came {when}")

    def run(self, name: str, step: Callable[[], T]) -> T:
        begin = self.clock.now()
        try:
            self.check(f"before the step {name!r}")
            return step()
        except LoaderError as error:
            error.filled(request=self.request, elapsed=self.clock.now() - self.begin)
            raise
        finally:
            self.timings[name] = self.clock.now() - begin
