"""Options and fixtures of the fault matrix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.faults import prepare
from tests.faults.build import ROOT, ToxiproxyError, binary
from tests.faults.cases import Case, planned
from tests.faults.lane import LANES, LiveHubUnreachable
from tests.faults.plugin import Matrix
from tests.faults.schema import CONTENDERS
from tests.faults.server import Server


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--contender NAME`, as often as there are contenders; `--lane NAME` or `--live`: which way the traffic goes."""
    parser.addoption(
        "--contender", action="append", choices=CONTENDERS, help="run the fault matrix for this contender only"
    )
    parser.addoption("--lane", choices=tuple(LANES), help="of the fault matrix (default: quick, and a few on proxy)")
    parser.addoption("--live", dest="lane", action="store_const", const="live", help="the same as --lane live")


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that talks to the user shows and writes anything."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Matrix(config, ROOT / "reports"), "fault-matrix")


def pytest_sessionstart(session: pytest.Session) -> None:
    """A run of the matrix alone first makes what it needs, where a person sees it; without a server it is one error."""
    config = session.config
    if hasattr(config, "workerinput") or config.getoption("markexpr", default="") != "faults":
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        try:
            binary()
            if not config.getoption("keyword", default=""):
                prepare.all_repos(planned(config.getoption("lane")))
        except (ToxiproxyError, LiveHubUnreachable) as error:
            raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the contenders that were not asked for."""
    wanted = config.getoption("contender", default=None)
    if wanted:
        kept = [item for item in items if _contender(item) in (None, *wanted)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def _contender(item: pytest.Item) -> str | None:
    call = getattr(item, "callspec", None)
    matrix_case = None if call is None else call.params.get("matrix_case")
    return matrix_case.contender if isinstance(matrix_case, Case) else None


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    """The one Toxiproxy server of this process."""
    with pytest.MonkeyPatch.context() as patch:
        # The control calls go to this machine, whatever proxy the user's environment names.
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        with Server() as server:
            yield server


@pytest.fixture
def toxiproxy(running: Server) -> Server:
    """The same, alive."""
    running.revive()
    return running
