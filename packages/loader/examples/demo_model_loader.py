"""A tour of phaita_loader, step by step: cache, offline mode, retries, errors, and the models of PHAITA.

    python packages/loader/examples/demo_model_loader.py

It needs phaita-loader[models] and phaita-models, and asks the Hub that HF_ENDPOINT names, by default the live one.
`nox -s demo` runs it against a Hub on this machine. This software is not a medical device.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from phaita.models.discriminator import DiagnosisDiscriminator
from phaita.models.generator import ComplaintConfig, ComplaintGenerator, SymptomGenerator
from phaita.models.realism import RealismScorer
from phaita.training import train_discriminator
from phaita.utils.config import DataConfig, TrainingConfig
from phaita_loader import Backoff, Hub, LoaderError, ModelRequest, Policy, fetch, load, plan, robust_model_download

QUICK = Policy(attempts=4, backoff=Backoff(first=0.1))
COMPLAINT = "I'm wheezing and my chest is tight"


def main() -> None:
    parser = argparse.ArgumentParser(description="What phaita_loader does, step by step.")
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="(default: %(default)s)")
    parser.add_argument("--generator", default="gpt2", help="PHAITA's own has 14 GB (default: %(default)s)")
    given = parser.parse_args()
    logging.basicConfig(stream=sys.stdout, format="  log: %(message)s")
    with tempfile.TemporaryDirectory() as scratch:
        cache_check()
        offline_mode()
        a_hub_that_recovers(Path(scratch, "recovered"))
        a_hub_that_stays_down(Path(scratch, "down"))
        error_messages()
        discriminator(given.encoder, Path(scratch, "checkpoint"))
        generator(given.generator)
        realism_scorer()


def cache_check() -> None:
    title("Cache: what is there, and what would come")
    planned = plan("gpt2")
    say(f"gpt2: {planned.to_come / 1e6:.2f} of {planned.total / 1e6:.2f} MB are to come")
    snapshot = fetch("gpt2")
    say(f"fetched {len(snapshot.files)} files of commit {snapshot.commit[:12]}, each with the right digest")
    say(f"gpt2: {plan('gpt2').to_come / 1e6:.2f} MB are to come")
    pinned = ModelRequest("gpt2", revision=snapshot.commit)
    begin = time.perf_counter()
    fetch(pinned)
    say(f"the same commit once more, without a request: {time.perf_counter() - begin:.3f} s")


def offline_mode() -> None:
    title("Offline: what is cached loads, what is not is told at once")
    model = robust_model_download("gpt2", "causal_lm", allow_offline=True)
    say(f"{type(model).__name__} with {model.num_parameters() / 1e6:.1f} M parameters, without a request")
    say_error(partial(robust_model_download, "org/never-fetched", allow_offline=True))


def a_hub_that_recovers(cache: Path) -> None:
    title("Retries: a Hub that answers 503 three times")
    say(f"by default there are {Policy().attempts} attempts, and waits of 10 s, 20 s, 40 s, ... between them")
    waits = ", ".join(f"{QUICK.backoff.delay(failures):g} s" for failures in (1, 2, 3))
    say(f"for this demo {QUICK.attempts} attempts, and waits of {waits}")
    with failing_hub(times=3) as url:
        loaded = load(ModelRequest("gpt2", kind="tokenizer"), hub=Hub(url, cache_dir=cache), policy=QUICK)
    say(f"{type(loaded.tokenizer).__name__} is there after all")


def a_hub_that_stays_down(cache: Path) -> None:
    title("Retries: a Hub that stays down; a deadline; a mirror")
    with failing_hub() as url:
        say_error(partial(fetch, "gpt2", hub=Hub(url, cache_dir=cache), policy=QUICK))
        say("with the usual wait of 10 s, and 5 s for everything, there is nothing to wait for:")
        say_error(partial(fetch, "gpt2", hub=Hub(url, cache_dir=cache), policy=Policy(deadline=5.0)))
        say("with a mirror behind it:")
        mirrored = Hub([url, *Hub().endpoints], cache_dir=cache)
        say(f"fetched commit {fetch('gpt2', hub=mirrored, policy=QUICK).commit[:12]}")


def error_messages() -> None:
    title("Errors: a cause, and what to do; none of these is tried twice")
    say_error(partial(fetch, "org/no-such-repo"))
    say_error(partial(fetch, ModelRequest("gpt2", revision="no-such-branch")))
    say_error(partial(robust_model_download, "gpt2", "masked_lm"))
    say_error(partial(robust_model_download, "gpt2", "image_to_text"))
    say_error(partial(robust_model_download, "gpt2", max_retries=0))


def discriminator(encoder: str, folder: Path) -> None:
    title(f"Discriminator around {encoder}")
    model = DiagnosisDiscriminator.from_pretrained(encoder, policy=QUICK)
    say_error(partial(model.predict_diagnosis, [COMPLAINT]))
    say("a few seconds of training on 200 synthetic complaints, which shows how and not how well")
    train_discriminator(model, TrainingConfig(num_epochs=10), DataConfig(samples_per_condition=20), progress=False)
    model.save_pretrained(folder)
    trained = DiagnosisDiscriminator.from_pretrained(folder)
    say(f'"{COMPLAINT}", says the checkpoint, may be')
    for found in trained.predict_diagnosis([COMPLAINT], top_k=3, seed=0)[0]:
        say(f"  {found.code} {found.name}: {found.probability:.0%}{', abstained' if found.abstained else ''}")


def generator(name: str) -> None:
    title(f"Complaint generator: {name}")
    config = ComplaintConfig(max_new_tokens=30)
    presentation = SymptomGenerator().generate_symptoms("J45.9", rng=random.Random(7))
    written = ComplaintGenerator.from_pretrained(name, policy=QUICK, config=config)
    say(f"{written.kind}: {written.generate_complaint(presentation, seed=1)!r}")
    templates = ComplaintGenerator.from_pretrained("org/no-such-repo", policy=QUICK, fallback="template")
    say(f"{templates.kind}: {templates.generate_complaint(presentation, seed=1)!r}")


def realism_scorer() -> None:
    title("Realism scorer")
    scorer = RealismScorer.from_pretrained(policy=QUICK)
    say(f"encoder: {scorer.encoder_name}")
    for name, score in scorer.get_detailed_scores("I've had a cough since Monday. I'm wheezing now.").items():
        say(f"  {name}: {score:.2f}")


@contextmanager
def failing_hub(times: float = float("inf")) -> Iterator[str]:
    """A Hub that answers 503 so many times, and then sends whoever asks to the Hub proper."""
    left = [times]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            left[0] -= 1
            self.send_response(503 if left[0] >= 0 else 307)
            self.send_header("Location", Hub().endpoints[0] + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Hide what other libraries log: the loader's own lines are enough."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def title(text: str) -> None:
    say(f"\n== {text}")


def say(text: str) -> None:
    print(text, flush=True)


def say_error(call: Callable[[], object]) -> None:
    """Call what is bound to fail, and say with what."""
    try:
        call()
    except (LoaderError, RuntimeError, ValueError) as error:
        say(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
