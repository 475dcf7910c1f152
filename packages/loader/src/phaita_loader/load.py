"""Load a model: fetch, verify, initialise. Model and tokenizer come from one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from phaita_loader._build.cuda_context import create_cuda_context
from phaita_loader._build.engines import Engine
from phaita_loader._build.imports import Imports
from phaita_loader.errors import LoaderError
from phaita_loader.fetch import fetch
from phaita_loader.hub import Hub
from phaita_loader.initialise import (
    BuildOptions,
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
from phaita_loader.retry import SYSTEM, Clock, check_deadline
from phaita_loader.snapshot import Snapshot, Verify
from phaita_loader.verify import verify as verified

__all__ = ["Loaded", "load"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model of a request, and how it was made.

    model: None for the kinds "tokenizer" and "config". tokenizer: None unless asked for. config: transformers'.
    path: how the model was built; "fast" where that gives what transformers' `from_pretrained` gives, bit by bit.
    engine: the code that read the weights then: "mapping", "ring" or a library's name. timings: seconds for each step.
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
    deadline: Deadline | None = None,
    fast: bool = True,
    private_copy: bool = False,
    engine: Engine = "auto",
    **kwargs: Any,
) -> Loaded:
    """Take a model from the Hub to a ready device; `kwargs` go to the model's `from_pretrained`.

    torch and transformers are imported while files are downloaded. `deadline` is an instant on `clock`, in place of the
    policy's. `fast=False` builds by `from_pretrained` in any case. On a CPU the fast way maps the weights, as
    `from_pretrained` does: pages that were not written to are the file's, and follow whoever changes it in place;
    `private_copy=True` reads them into memory of this process. `engine` takes safetensors to a device: "ring",
    "fastsafetensors", "instanttensor", "runai", or "auto".

    Raises ModelDownloadError where the files can't be fetched, InitialisationError where they can't be built into a
    model, DeadlineExceeded between any two steps, ValueError for an invalid request, and for a keyword that belongs to
    the request, the Hub or the Policy.
    """
    asked = ModelRequest(request) if isinstance(request, str) else request
    hub, policy, options = hub or Hub(), policy or Policy(), BuildOptions(fast, private_copy, engine)
    _refuse_seconds(deadline)
    steps = _Steps(asked, deadline or Deadline.after(policy.deadline, clock.now()), clock)
    _refuse_strays(kwargs)
    refuse_pickles(kwargs)
    require_extra(asked.kind)
    refuse_engine(engine, asked.device)
    imports = Imports()
    with bar() if listen is None else nullcontext(listen) as shown:
        heard = shown if asked.kind in {"config", "tokenizer"} else _import_beside(imports, asked.device, shown)
        snapshot = steps.run(
            "fetch",
            lambda: fetch(
                asked, hub=hub, policy=policy, verify=verify, listen=heard, clock=clock, deadline=steps.deadline
            ),
        )
    again: Verify = "size" if verify == "size" else "auto"  # `fetch` has digested every file, and stamped it
    whole = steps.run("verify", lambda: verified(snapshot, hub.cache_dir, again, steps.check))
    if asked.kind == "config":
        config = steps.run("config", lambda: initialise_config(whole, **kwargs))
        return Loaded(None, None, config, snapshot, timings=steps.timings)
    if asked.kind == "tokenizer":
        its_tokenizer = steps.run("tokenizer", lambda: initialise_tokenizer(whole, **kwargs))
        return Loaded(None, its_tokenizer, None, snapshot, timings=steps.timings)
    if not imports.begun:
        create_cuda_context(asked.device)
    steps.run("import", imports.finish)
    its_tokenizer = steps.run("tokenizer", lambda: initialise_tokenizer(whole)) if tokenizer else None
    built = steps.run("initialise", lambda: initialise(whole, options, check=steps.check, **kwargs))
    return Loaded(built.model, its_tokenizer, built.model.config, snapshot, built.path, built.engine, steps.timings)


# transformers would accept some of these keywords, and silently ignore them: it is given a folder, not a repo.
_OWNERS = {
    "ModelRequest": {field.name for field in fields(ModelRequest)} - {"dtype"},
    "Hub": {"cache_dir", "endpoints", "force_download", "local_files_only", "offline", "proxies", "token"},
    "Policy": {"max_retries", *(field.name for field in fields(Policy))},
}


def _refuse_strays(kwargs: Mapping[str, Any]) -> None:
    for owner, names in _OWNERS.items():
        if stray := sorted(names & kwargs.keys()):
            raise ValueError(f"{', '.join(stray)}: not a keyword of load; the setting for it is in {owner}(...)")


def _refuse_seconds(deadline: Deadline | None) -> None:
    if not (deadline is None or isinstance(deadline, Deadline)):
        raise ValueError(f"deadline is an instant (Deadline), got {deadline!r}; seconds belong to Policy(deadline=...)")


def _import_beside(imports: Imports, device: str | None, listen: Listener) -> Listener:
    """Return a listener that starts the imports, and calls `listen`."""

    def heard(event: Event) -> None:
        # A plan means that bytes will be waited for; with a complete cache a thread would gain nothing.
        if isinstance(event, Plan) and not imports.begun:
            create_cuda_context(device)
            imports.start()
        listen(event)

    return heard


class _Steps:
    """The steps of one load: each is timed, and none begins after the deadline."""

    def __init__(self, request: ModelRequest, deadline: Deadline, clock: Clock) -> None:
        self.deadline = deadline
        self.timings: dict[str, float] = {}
        self._request = request
        self._clock = clock
        self._begin = clock.now()

    def check(self, when: str = "while cached files were read") -> None:
        """Raise DeadlineExceeded once the deadline has passed."""
        check_deadline(self.deadline, self._clock, when)

    def run(self, name: str, step: Callable[[], T]) -> T:
        """Run a step; an error of this package says which request it belongs to, and how long the load had taken."""
        begin = self._clock.now()
        try:
            self.check(f"before the step {name!r}")
            return step()
        except LoaderError as error:
            error.filled(request=self._request, elapsed=self._clock.now() - self._begin)
            raise
        finally:
            self.timings[name] = self._clock.now() - begin
