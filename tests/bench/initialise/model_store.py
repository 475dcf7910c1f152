"""The models as files, and the races that were run with them: each once a session, on demand, outside every timing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from phaita_loader import Hub, ModelRequest, fetch
from tests.bench.device import DEVICE
from tests.bench.fetch.origin import Origin
from tests.bench.fetch.race import place
from tests.hub import LocalHub
from tests.hub.replicas import replica

from .limits import limits
from .models import LoadSpec, Model
from .plan import contenders, rounds
from .race import first, repeated, script, weights
from .results import Results
from .run import Races

_LINK = 150_000_000  # bytes a second, all connections together


@dataclass
class ModelStore:
    """`cache` is a Hugging Face cache of this session; `asked` the caller's number of rounds."""

    cache: Path
    origin: Origin
    results: Results
    asked: int | None = None
    _specs: dict[str, LoadSpec] = field(default_factory=dict)

    def spec(self, model: Model) -> LoadSpec:
        """The model's files, complete and verified in the cache."""
        if model.name not in self._specs:
            self._specs[model.name] = spec = self._fetched(model)
            files = weights(Path(spec.source))
            self.results.sizes[model.name] = sum(file.stat().st_size for file in files)
            if not self.results.limits:
                self.results.limits |= limits(files[0], DEVICE)
        return self._specs[model.name]

    def races(self, model: Model, kind: str) -> Races:
        """All rounds of a race."""
        run = self.results.races.setdefault(model.name, {})
        if kind not in run:
            names, number = contenders(model, kind, DEVICE), rounds(model, self.asked)[kind]
            kinds: dict[str, Callable[[], Races]] = {
                "first": lambda: first(self.spec(model), names, number),
                "cold": lambda: first(self.spec(model), names, number, cold=True),
                "script": lambda: script(self.spec(model), names, number),
                "repeated": lambda: repeated(self.spec(model), names, number),
                "download": lambda: self._downloads(model, names, number),
            }
            run[kind] = kinds[kind]()
        return run[kind]

    def _fetched(self, model: Model) -> LoadSpec:
        repo = replica(model.repo, model.size)
        with LocalHub([repo]) as hub:
            request = ModelRequest(model.repo, revision=model.revision, kind=model.kind)
            snapshot = fetch(request, hub=Hub(hub.url, cache_dir=self.cache))
        return LoadSpec(
            repo=model.repo,
            revision=snapshot.commit,
            kind=model.kind,
            architecture=model.architecture,
            source=str(snapshot.path),
            cache=str(self.cache),
            device=DEVICE,
            four_bit=model.four_bit,
        )

    def _downloads(self, model: Model, names: tuple[str, ...], number: int) -> Races:
        repo = replica(model.repo, model.size)
        for blob in repo.files(model.revision).values():
            if blob.sha256 and isinstance(blob.source, Path):
                self.origin.show(blob.source, place(model.repo, blob.digest))
        with LocalHub([repo]) as hub:
            hub.public_cdn_url = f"{self.origin.url}/total={_LINK}"
            spec = replace(self.spec(model), source=model.repo, revision=model.revision, offline=False)
            return script(spec, names, number, HF_ENDPOINT=hub.url)
