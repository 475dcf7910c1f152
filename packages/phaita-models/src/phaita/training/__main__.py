"""Train a discriminator on synthetic complaints, and measure it on held-out ones. Not a medical device.

Writes a checkpoint for DiagnosisDiscriminator.from_pretrained to OUT/checkpoint, and with --evaluate the figures of it
and of simpler methods to OUT/report.md and OUT/report.json. The encoder comes from the Hugging Face Hub by
phaita_loader, which reads HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE. After an interruption the same command
resumes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phaita.errors import InvalidFile
from phaita.utils.config import Config
from phaita_loader import LoaderError

if TYPE_CHECKING:
    from phaita.models.discriminator import DiagnosisDiscriminator

__all__ = ["main"]

# Small enough to train the heads on a CPU.
_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 1 after an error message on stderr."""
    options = _parser().parse_args(arguments)
    try:
        config = _config(options)
        _train(config, options)
    except (LoaderError, InvalidFile, ImportError, FloatingPointError, OSError) as error:
        sys.stderr.write(f"phaita.training: {error}\n")
        return 1
    return 0


def _train(config: Config, options: argparse.Namespace) -> None:
    # Importing torch takes seconds; --help and a wrong option should answer at once.
    from phaita.models.discriminator import DiagnosisDiscriminator
    from phaita.training.train import train_discriminator

    out: Path = options.out
    model = DiagnosisDiscriminator.from_pretrained(config=config, device=options.device)
    if options.evaluate:
        model = _evaluated(model, config, options)
    else:
        state = out / "states" / f"discriminator-{config.training.seed}.pt"
        train_discriminator(model, config.training, config.data, train_encoder=options.train_encoder, state=state)
    model.save_pretrained(out / "checkpoint")
    figures = model.trained_on.figures if model.trained_on else {}
    lines = "".join(f"  {name}: {value:g}\n" for name, value in figures.items())
    sys.stdout.write(f"{out / 'checkpoint'}\n{lines}")


def _evaluated(model: DiagnosisDiscriminator, config: Config, options: argparse.Namespace) -> DiagnosisDiscriminator:
    from phaita.training.evaluate import evaluate
    from phaita.training.report import markdown, write_report

    evaluation, trained = evaluate(
        model,
        config.training,
        config.data,
        seeds=options.seeds or [config.training.seed + number for number in range(3)],
        train_encoder=options.train_encoder,
        states=options.out / "states",
    )
    write_report(evaluation, options.out)
    sys.stdout.write(f"{markdown(evaluation)}\n")
    return trained


def _config(options: argparse.Namespace) -> Config:
    """Return the file's settings, else the defaults with a small encoder; command-line options override both."""
    config = Config.from_yaml(options.config) if options.config else Config()
    encoder = options.encoder or (None if options.config else _ENCODER)
    seed = options.seeds[0] if options.seeds else None

    def override(section: Any, **options: Any) -> Any:
        return section.model_copy(update={name: value for name, value in options.items() if value is not None})

    return Config(
        model=override(config.model, deberta_model=encoder),
        training=override(config.training, num_epochs=options.epochs, seed=seed),
        data=override(config.data, samples_per_condition=options.samples),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m phaita.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", metavar="REPO", help=f"text encoder (default: --config's, else {_ENCODER})")
    parser.add_argument("--config", metavar="YAML", type=Path, help="settings, as phaita.utils.config writes them")
    parser.add_argument(
        "--epochs", metavar="N", type=_count, help="maximum number of epochs (default: --config's, else 100)"
    )
    parser.add_argument(
        "--samples", metavar="N", type=_count, help="complaints per condition (default: --config's, else 200)"
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=_seed,
        nargs="+",
        help="the first trains the checkpoint, --evaluate uses all (default: --config's, else 42, and the next two)",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("discriminator"), help="(default: %(default)s)")
    parser.add_argument(
        "--train-encoder",
        action="store_true",
        help="fine-tune the encoder too: hours on a CPU (default: it is frozen, and each text is encoded once)",
    )
    parser.add_argument("--evaluate", action="store_true", help="compare with simpler methods; needs scikit-learn")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: the CPU)")
    return parser


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


def _seed(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
