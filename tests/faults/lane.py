"""Lanes: how a contender's traffic reaches the Hub, and where Toxiproxy stands on that way.

quick: HF_ENDPOINT -> a Toxiproxy in front of each origin -> the origin, plain HTTP.
proxy: HTTPS_PROXY -> one Toxiproxy -> a forward proxy -> both origins under their own names, TLS end to end.
live:  the same with huggingface.co and its CDN hosts behind the forward proxy.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from tests.faults.control import Proxies
from tests.faults.scenario import ORIGINS, Scenario
from tests.faults.schema import Expect, Toxic
from tests.faults.server import Server
from tests.hub import NAMES, Blob, LocalHub, Seen
from tests.support.forward_proxy import ForwardProxy

LIVE_HOST = "huggingface.co"
LIVE_REPO = "hf-internal-testing/tiny-random-bert"
TELLING = ("clean", "cut_every_2mb", "reset_every_2mb", "silent_for_good", "refused_then_up")
"""Scenarios that every run of the matrix includes on the proxy lane too."""
_ALL = "all"
_TLS_LOSS = 20 << 10
"""Bytes: a record of 16 KiB, which can't be read in part, and a handshake with its certificate."""


class LiveHubUnreachable(RuntimeError):
    """huggingface.co can't be reached from here."""


class SharedProxy:
    """The controls of one Toxiproxy that carries all traffic: a fault for one origin applies to both."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    def disturb(self, _origins: Sequence[str], toxics: Sequence[Toxic]) -> None:
        self._proxies.disturb([_ALL], toxics)

    def clear(self, _origins: Sequence[str]) -> None:
        self._proxies.clear([_ALL])

    def refuse(self, _origins: Sequence[str]) -> None:
        self._proxies.refuse([_ALL])

    def accept(self, _origins: Sequence[str]) -> None:
        self._proxies.accept([_ALL])

    def delivered(self) -> int:
        return self._proxies.delivered()

    def settled(self) -> int:
        return self._proxies.settled()


class LiveHub:
    """Stands in for a LocalHub where the Hub is not ours: nothing is queued on it, and nothing is seen."""

    url = cdn_url = public_cdn_url = f"https://{LIVE_HOST}"
    seen: tuple[Seen, ...] = ()

    def clear(self) -> None:
        """Nothing was queued."""


@dataclass(frozen=True)
class Topology:
    """The route of one case to the Hub: the contender's settings, and the controls of its traffic.

    `endpoint` and `environment` are the contender's; `cdn_url` is where the Hub sends it for large files. `forward` is
    the proxy that counts what comes from each host, on the lanes that have one.
    """

    hub: LocalHub | LiveHub
    proxies: Proxies | SharedProxy
    endpoint: str
    cdn_url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    forward: ForwardProxy | None = None


MakeHub = Callable[..., LocalHub]
Lane = Callable[[MakeHub, Server], AbstractContextManager[Topology]]


@contextmanager
def quick(make: MakeHub, server: Server) -> Iterator[Topology]:
    """A Toxiproxy of its own in front of each origin."""
    with make() as hub, Proxies(server, {"hub": hub.url, "cdn": hub.cdn_url}) as proxies:
        yield Topology(hub, proxies, proxies.urls["hub"], proxies.urls["cdn"])


@contextmanager
def proxy(make: MakeHub, server: Server) -> Iterator[Topology]:
    """One Toxiproxy between the contender and its forward proxy."""
    with make(tls=True) as hub, ForwardProxy(hub.addresses) as forward, Proxies(server, {_ALL: forward.url}) as proxies:
        environment = {**_through(proxies), "SSL_CERT_FILE": str(hub.ca_file)}
        endpoint, cdn_url = (f"https://{NAMES[origin]}" for origin in ORIGINS)
        yield Topology(hub, SharedProxy(proxies), endpoint, cdn_url, environment, forward)


@contextmanager
def live(_make: MakeHub, server: Server) -> Iterator[Topology]:
    """The same, and behind the forward proxy the Hub that the world uses."""
    hub = LiveHub()
    with ForwardProxy({}, live=True) as forward, Proxies(server, {_ALL: forward.url}) as proxies:
        yield Topology(hub, SharedProxy(proxies), hub.url, hub.cdn_url, _through(proxies), forward)


LANES: Mapping[str, Lane] = {"quick": quick, "proxy": proxy, "live": live}


def applies(scenario: Scenario, lane: str) -> bool:
    """True if the scenario means on this lane what it means on the quick one.

    One Toxiproxy can't tell origins apart: what is meant for one is done to both. That is as good where it is meant for
    the Hub's own origin, which is asked first; what is meant for the CDN must spare small answers. The live Hub gives
    no answers, has no repo prepared, and is spared large files and several processes.
    """
    if lane == "quick":
        return True
    same = scenario.on != "cdn" or (not scenario.down and all(_spares_small_answers(one) for one in scenario.toxics))
    return same and (lane != "live" or not _needs_own_hub(scenario))


def _spares_small_answers(toxic: Toxic) -> bool:
    floors = {"limit_data": ("bytes", 64_000), "bandwidth": ("rate", 1_000), "slicer": ("average_size", 1_000)}
    if toxic.type == "reset_peer":
        return toxic.toxicity == 0.0
    attribute, floor = floors.get(toxic.type, ("", 1))
    return toxic.attributes.get(attribute, 0) >= floor


def _needs_own_hub(scenario: Scenario) -> bool:
    conditions = (scenario.answers, scenario.prepare, scenario.token, scenario.kill_at, scenario.disk, scenario.pinned)
    return any(conditions) or scenario.processes > 1 or scenario.size != "tiny"


def on(scenario: Scenario, lane: str) -> Scenario:
    """Return the scenario as this lane runs it; in the report a lane is a class of its own."""
    if lane == "quick":
        return scenario
    named = replace(scenario, name=f"{lane}_{scenario.name}")
    if lane == "proxy":
        return replace(named, expect=_over_tls(scenario))
    # Requests on the live Hub can't be counted, and a small repo is mostly headers and TLS.
    expect = replace(scenario.expect, requests_max=None, transfer_ratio_max=None)
    return replace(named, repo=LIVE_REPO, expect=expect)


def _over_tls(scenario: Scenario) -> Expect:
    """A connection that ends after so many bytes has brought fewer: the rest is handshake and half a TLS record."""
    expect, each = scenario.expect, scenario.drop_bytes
    if expect.transfer_ratio_max is None or each <= _TLS_LOSS:
        return expect
    return replace(expect, transfer_ratio_max=round(expect.transfer_ratio_max * each / (each - _TLS_LOSS), 3))


def scenarios(all_of_them: Sequence[Scenario], lane: str, *, telling: bool = False) -> tuple[Scenario, ...]:
    """Return the scenarios that a lane runs; with `telling` the few that say most."""
    chosen = (one for one in all_of_them if applies(one, lane) and (not telling or one.name in TELLING))
    return tuple(on(one, lane) for one in chosen)


@dataclass(frozen=True)
class LiveRepo:
    """A repo of the live Hub as far as the harness asks: one commit, and the size and digest of each file."""

    repo_id: str
    commit: str
    blobs: Mapping[str, Blob]

    @property
    def shas(self) -> tuple[str, ...]:
        """The one commit."""
        return (self.commit,)

    def files(self, _revision: str = "main") -> Mapping[str, Blob]:
        """Path -> Blob."""
        return self.blobs

    def size(self, _revision: str = "main") -> int:
        """Bytes of all files."""
        return sum(blob.size for blob in self.blobs.values())


def live_repo(repo_id: str = LIVE_REPO) -> LiveRepo:
    """Return the live Hub's listing of a repo, without faults. Raises LiveHubUnreachable without a network."""
    from huggingface_hub import HfApi

    reach(LIVE_HOST)
    info = HfApi(endpoint=f"https://{LIVE_HOST}", token=False).model_info(repo_id, files_metadata=True, timeout=30)
    blobs = {
        one.rfilename: Blob(b"", one.size or 0, one.blob_id or "", one.lfs.sha256 if one.lfs else None)
        for one in info.siblings or []
    }
    return LiveRepo(repo_id, info.sha or "", blobs)


def reach(host: str, port: int = 443) -> None:
    """LiveHubUnreachable unless this machine gets to the host by itself, over TLS."""
    try:
        with socket.create_connection((host, port), timeout=10) as sock:
            ssl.create_default_context().wrap_socket(sock, server_hostname=host).close()
    except OSError as error:
        raise LiveHubUnreachable(f"--live needs the network, and {host} can't be reached from here: {error}") from error


def _through(proxies: Proxies) -> dict[str, str]:
    # What goes to this machine itself is the harness's own business, such as an earlier call without faults.
    return {"HTTPS_PROXY": proxies.urls[_ALL], "NO_PROXY": "127.0.0.1"}
