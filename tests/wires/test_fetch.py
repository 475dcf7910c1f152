"""Fetching over a healthy wire: what is asked for, how often, and what the cache answers by itself."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from phaita_loader import ModelRequest, NotCached, NotFound, StorageError, fetch
from phaita_loader.cli import main
from tests.hub import Answer, Commit, Repo
from tests.hub.content import git_sha1
from tests.support.servers import RawServer, forward_to, nobody, read_head
from tests.wires.support import (
    MIB,
    NAME,
    QUICK,
    WEIGHTS,
    Connect,
    Serve,
    assert_whole,
    fresh_process,
    repo,
    small_files,
    weights,
)


def two_commits() -> Repo:
    """`main` at the second commit, `v1` at the first."""
    return Repo(
        NAME,
        [
            Commit({**small_files("old"), WEIGHTS: weights(1000, 1)}),
            Commit({**small_files("new"), WEIGHTS: weights(1000, 2)}),
        ],
        tags={"v1": 0},
    )


def test_a_fetch_is_one_listing_and_one_get_and_its_redirect_for_each_file(serve: Serve, client: Connect) -> None:
    served = repo()
    hub = serve(served)
    snapshot = fetch(NAME, hub=client(hub), policy=QUICK)
    assert_whole(snapshot, served)
    assert {file.path for file in snapshot.files} == {"config.json", "tokenizer.json", WEIGHTS}
    assert {seen.method for seen in hub.seen} == {"GET"}
    kinds = Counter(re.findall("models|resolve-cache|resolve|repos", seen.path)[0] for seen in hub.seen)
    assert kinds == {"models": 1, "resolve": 3, "resolve-cache": 2, "repos": 1}


def test_nested_and_empty_files_and_names_that_need_quoting_arrive(serve: Serve, client: Connect) -> None:
    names = ["a/b/c.json", "with space/ü#1?.txt", "empty.txt", "deep/empty.bin"]
    served = Repo(NAME, [Commit({name: b"" if "empty" in name else name.encode() for name in names})])
    hub = serve(served)
    snapshot = fetch(ModelRequest(NAME, allow_patterns=("*",)), hub=client(hub), policy=QUICK)
    assert sorted(file.path for file in snapshot.files) == sorted(names)
    assert_whole(snapshot, served)
    assert not [seen for seen in hub.seen if "empty" in seen.path + seen.query], "an empty file needs no request"


def test_connections_are_used_again(serve: Serve, client: Connect) -> None:
    """Thirty small files over a handful of connections, not sixty."""
    served = Repo(NAME, [Commit({f"{n}.txt": b"%d" % n for n in range(30)})])
    hub = serve(served)
    with RawServer(forward_to(hub.url)) as front:
        fetch(ModelRequest(NAME, allow_patterns=("*",)), hub=client(front.url), policy=QUICK)
        assert len(front.connections) <= 5


def test_a_tag_and_a_branch_that_moves_are_followed(serve: Serve, client: Connect) -> None:
    served = two_commits()
    hub = serve(served)
    old, new = served.shas
    assert fetch(ModelRequest(NAME, revision="v1"), hub=client(hub), policy=QUICK).commit == old
    assert fetch(NAME, hub=client(hub), policy=QUICK).commit == new
    hub.move(NAME, "main", old)
    back = fetch(NAME, hub=client(hub), policy=QUICK)
    assert back.commit == old
    assert_whole(back, served)


def test_a_cached_commit_needs_no_request_and_a_cached_branch_needs_one(serve: Serve, client: Connect) -> None:
    hub = serve(repo())
    commit = fetch(NAME, hub=client(hub), policy=QUICK).commit
    hub.clear()
    fetch(ModelRequest(NAME, revision=commit), hub=client(hub), policy=QUICK)
    assert not hub.seen
    fetch(NAME, hub=client(hub), policy=QUICK)
    assert [seen.path for seen in hub.seen] == [f"/api/models/{NAME}/revision/main"]


def test_a_cached_branch_outlives_a_dead_hub_with_a_warning(
    serve: Serve, client: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    hub = serve(repo())
    commit = fetch(NAME, hub=client(hub), policy=QUICK).commit
    with caplog.at_level(logging.WARNING, "phaita_loader"):
        assert fetch(NAME, hub=client(nobody()), policy=QUICK).commit == commit
    assert "using the cached commit" in caplog.text


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"portal": 200}, {"portal": 302}, {"status": 429, "retry_after": 3600}]
)
def test_a_cached_branch_outlives_a_hub_that_talks_nonsense(serve: Serve, client: Connect, fault: Any) -> None:
    hub = serve(repo())
    commit = fetch(NAME, hub=client(hub), policy=QUICK).commit
    hub.answer(Answer(on="hub", **fault))
    assert fetch(NAME, hub=client(hub), policy=QUICK).commit == commit


def test_a_cached_branch_does_not_outlive_a_repo_that_is_gone(serve: Serve, client: Connect) -> None:
    fetch(NAME, hub=client(serve(repo())), policy=QUICK)
    with pytest.raises(NotFound):
        fetch(NAME, hub=client(serve()), policy=QUICK)


def test_offline_makes_no_request(serve: Serve, client: Connect) -> None:
    hub = serve(repo())
    commit = fetch(NAME, hub=client(hub), policy=QUICK).commit
    hub.clear()
    assert fetch(NAME, hub=client(hub, offline=True)).commit == commit
    with pytest.raises(NotCached):
        fetch("org/other", hub=client(hub, offline=True))
    assert not hub.seen


def test_hf_hub_offline_means_the_same(serve: Serve, client: Connect, cache: Path) -> None:
    hub = serve(repo(), repo(name="org/cached"))
    commit = fetch("org/cached", hub=client(hub), policy=QUICK).commit
    hub.clear()
    code = (
        "from phaita_loader import *\n"
        f"hub = Hub({hub.url!r}, cache_dir={str(cache)!r})\n"
        "print(fetch('org/cached', hub=hub).commit)\n"
        f"fetch({NAME!r}, hub=hub)\n"
    )
    with fresh_process(code, HF_HUB_OFFLINE="1") as process:
        out, error = process.communicate(timeout=30)
    assert out.strip() == commit
    assert "NotCached" in error
    assert not hub.seen


@pytest.mark.parametrize("taken", ["", "models--org--name", "models--org--name/.phaita-loader"])
def test_a_cache_that_can_not_be_written_is_a_storage_error(
    serve: Serve, client: Connect, cache: Path, taken: str
) -> None:
    """A file lies where a folder should be: unlike missing permissions, that stops root too."""
    blocked = cache / taken
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way")
    with pytest.raises(StorageError) as caught:
        fetch(NAME, hub=client(serve(repo())), policy=QUICK)
    assert not caught.value.attempts


def test_a_dry_run_says_what_would_come(serve: Serve, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = serve(repo(MIB))
    command = ["fetch", NAME, "--endpoint", hub.url, "--cache-dir", str(cache), "--dry-run"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "to come" in told.splitlines()[0]
    assert "1.0 of 1.0 MB are to come" in told
    assert not cache.exists()


def test_the_command_line_says_how_long_is_waited(serve: Serve, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub = serve(repo())
    hub.answer(Answer(status=503, times=2))
    waits = ["--backoff-first", "0.02", "--backoff-cap", "0.03"]
    with caplog.at_level(logging.WARNING, "phaita_loader"):
        assert main(["fetch", NAME, "--cache-dir", str(cache), "--endpoint", hub.url, *waits]) == 0
    assert [re.findall(r"next in ([\d.]+) s", message)[0] for message in caplog.messages] == ["0.02", "0.03"]


def test_a_hub_that_answers_with_the_bodies_is_asked_once_for_each(client: Connect) -> None:
    files = {f"{at}.json": b'{"at": %d}' % at for at in range(20)}
    rows = [{"rfilename": path, "size": len(data), "blobId": git_sha1(data)} for path, data in files.items()]
    asked = []

    def talk(connection: socket.socket) -> None:
        while head := read_head(connection):
            path = head.split()[1].decode()
            asked.append(path)
            body = files.get(path.rpartition("/")[2]) or json.dumps({"sha": "c" * 40, "siblings": rows}).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with RawServer(talk) as server:
        snapshot = fetch(ModelRequest(NAME, allow_patterns=("*",)), hub=client(server.url), policy=QUICK)
    assert {file.path: (snapshot.path / file.path).read_bytes() for file in snapshot.files} == files
    assert len(asked) == len(files) + 1
