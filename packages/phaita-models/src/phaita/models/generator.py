"""Complaints in a patient's words, drawn from a causal language model; `phaita.models.templates` needs none.

A generated complaint is nobody's: it is no record of a patient. This software is not a medical device.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LogitsProcessorList, StoppingCriteriaList, TemperatureLogitsWarper, TopPLogitsWarper

from phaita.data.symptoms import lexicon
from phaita.models._inference import batches, default_device, evaluating, padded, positions
from phaita.models._sampling import OwnNoise, StopText, tidy
from phaita.models._seeds import seeds
from phaita.models.presentation import PatientPresentation, SymptomGenerator
from phaita.models.templates import TemplateComplaintGenerator
from phaita.utils.config import Config, ModelConfig
from phaita_loader import Hub, InitialisationError, Loaded, ModelDownloadError, ModelRequest, Policy, load

__all__ = ["ComplaintConfig", "ComplaintGenerator", "PatientPresentation", "SymptomGenerator"]

_DEFAULT = ModelConfig()
_LOG = logging.getLogger(__name__)

_TASK = (
    "You play a patient who speaks to a triage nurse. {age}You have these symptoms and no others: {symptoms}. "
    "{severity}Say what brings you here, in one to three short sentences, in the first person, in everyday words. "
    "Name no diagnosis. Reply with the patient's words alone."
)
_AGE = {
    "child": "You are a child, or a parent who speaks for one. ",
    "adult": "You are an adult. ",
    "elderly": "You are an elderly person. ",
}
_SEVERITY = {severity: f"They are {severity}. " for severity in ("mild", "moderate", "severe")}


@dataclass(frozen=True, slots=True)
class ComplaintConfig:
    """How complaints are drawn.

    temperature: 0 always takes the likeliest token. top_p: nucleus sampling (Holtzman et al., 2020).
    stop: text that ends a complaint, beside the model's own end token; white space before its first word does not.
    batch_tokens: the size of a batch, its prompts and the room for its new tokens counted.

    Raises ValueError when a number makes no sense.
    """

    max_new_tokens: int = 150
    temperature: float = 0.8
    top_p: float = 0.9
    stop: tuple[str, ...] = ("\n", "[INST]")
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.batch_tokens < 1:
            raise ValueError(f"max_new_tokens and batch_tokens are 1 or more, got {self}")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature is 0 or more, top_p above 0 and at most 1, got {self}")


class ComplaintGenerator(nn.Module):
    """Writes complaints with a causal language model that exists; `from_pretrained` loads one.

    A complaint depends on its presentation, the seed and its place in the list, never on what stands beside it, up to
    the rounding of the model's arithmetic. torch's global random numbers are neither used nor moved on.
    """

    kind = "causal_lm"

    def __init__(self, model: Any, tokenizer: Any, config: ComplaintConfig | None = None) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.config = config or ComplaintConfig()

    @overload
    @classmethod
    def from_pretrained(
        cls,
        model_name: str | None = ...,
        *,
        policy: Policy | None = ...,
        hub: Hub | None = ...,
        revision: str | None = ...,
        device: str | None = ...,
        quantize: bool | Literal["auto"] | None = ...,
        config: ComplaintConfig | Config | None = ...,
        fallback: None = ...,
    ) -> ComplaintGenerator: ...
    @overload
    @classmethod
    def from_pretrained(
        cls,
        model_name: str | None = ...,
        *,
        policy: Policy | None = ...,
        hub: Hub | None = ...,
        revision: str | None = ...,
        device: str | None = ...,
        quantize: bool | Literal["auto"] | None = ...,
        config: ComplaintConfig | Config | None = ...,
        fallback: Literal["template"],
    ) -> ComplaintGenerator | TemplateComplaintGenerator: ...
    @classmethod
    def from_pretrained(
        cls,
        model_name: str | None = None,
        *,
        policy: Policy | None = None,
        hub: Hub | None = None,
        revision: str | None = None,
        device: str | None = None,
        quantize: bool | Literal["auto"] | None = None,
        config: ComplaintConfig | Config | None = None,
        fallback: Literal["template"] | None = None,
    ) -> ComplaintGenerator | TemplateComplaintGenerator:
        """Model and tokenizer from the Hub, on CUDA where there is one, unless told.

        model_name and quantize, left at None, are those of the package's `Config`, if that is the config, else of its
        defaults. quantize: 4-bit NF4 weights (Dettmers et al., 2023) by bitsandbytes; "auto" (`use_quantization`) where
        CUDA and bitsandbytes are there. Otherwise the weights are bfloat16. fallback: "template" answers a failed load
        with a warning and a `TemplateComplaintGenerator`, which is another type and says so.

        Raises ModelDownloadError or InitialisationError for a failed load, ValueError for any other fallback.
        """
        if fallback not in (None, "template"):
            raise ValueError(f'fallback is None or "template", got {fallback!r}')
        named, own = (config.model, None) if isinstance(config, Config) else (_DEFAULT, config)
        name = model_name or named.mistral_model
        if quantize is None:
            quantize = "auto" if named.use_quantization else False
        try:
            loaded = _load(name, revision, default_device(device), quantize, policy, hub)
        except (ModelDownloadError, InitialisationError) as error:
            if fallback is None:
                raise
            _LOG.warning("templates instead of %s write the complaints: %s", name, error.cause)
            return TemplateComplaintGenerator()
        generator = cls(loaded.model, loaded.tokenizer, own)
        generator.eval()
        return generator

    def generate_complaint(self, presentation: PatientPresentation, *, seed: int | None = None) -> str:
        """One complaint: the first that `generate_complaints` gives for this seed."""
        return self.generate_complaints([presentation], seed=seed)[0]

    def generate_complaints(
        self, presentations: Sequence[PatientPresentation], *, seed: int | None = None
    ) -> list[str]:
        """A complaint for each presentation, in their order, without the prompt; seed None draws anew each time.

        One that ran into `max_new_tokens` is cut back to its whole sentences where it has one. A model that says
        nothing gives "". Raises ValueError where prompt and new tokens are more than the model has positions for.
        """
        prompts = [self._prompt_ids(presentation) for presentation in presentations]
        own = seeds(seed, len(prompts))
        complaints = [""] * len(prompts)
        lengths = [len(prompt) + self.config.max_new_tokens for prompt in prompts]
        self._check(max(lengths, default=0))
        with torch.no_grad(), evaluating(self.model):
            for batch in batches(lengths, self.config.batch_tokens):
                texts = self._generate([prompts[index] for index in batch], [own[index] for index in batch])
                for index, text in zip(batch, texts, strict=True):
                    complaints[index] = text
        return complaints

    def forward(self, presentations: Sequence[PatientPresentation], complaints: Sequence[str]) -> Tensor:
        """Log-probability of each complaint and of its end, given its presentation: [B], with a gradient.

        What fine-tuning raises, and what `RealismLoss` weighs. It is that of the plain model, without temperature and
        nucleus, over the tokens into which the tokenizer cuts the text.
        """
        end = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        prompts = [self._prompt_ids(presentation) for presentation in presentations]
        answers = [[*self.tokenizer(text, add_special_tokens=False).input_ids, *end] for text in complaints]
        pairs = list(zip(prompts, answers, strict=True))
        device = self.model.device
        ids, mask = padded([prompt + answer for prompt, answer in pairs], 0, "right", device)  # [B, T]
        said, _ = padded([[0] * len(prompt) + [1] * len(answer) for prompt, answer in pairs], 0, "right", device)
        logits = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1]  # [B, T-1, V]
        losses = functional.cross_entropy(logits.transpose(1, 2).float(), ids[:, 1:], reduction="none")  # [B, T-1]
        return -(losses * said[:, 1:]).sum(1)

    def prompt(self, presentation: PatientPresentation) -> str:
        """What the model is asked; the condition is not named, so that no complaint gives it away."""
        return _TASK.format(
            age=_AGE.get(presentation.age_group or "", ""),
            symptoms="; ".join(lexicon()[symptom].phrases[0] for symptom in presentation.symptoms),
            severity=_SEVERITY.get(presentation.severity or "", ""),
        )

    def _prompt_ids(self, presentation: PatientPresentation) -> list[int]:
        """By the tokenizer's chat template; where it has none, plain text that asks to be continued."""
        text = self.prompt(presentation)
        if self.tokenizer.chat_template is None:
            return list(self.tokenizer(f"{text}\n\nPatient:").input_ids)
        chat = [{"role": "user", "content": text}]  # a template may know no system role, Mistral's for one
        return list(self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True).input_ids)

    def _check(self, longest: int) -> None:
        room = positions(self.model)
        if room is not None and longest > room:
            raise ValueError(f"prompt and max_new_tokens make {longest}, the model has positions for {room}")

    def _generate(self, prompts: Sequence[Sequence[int]], own: Sequence[int]) -> list[str]:
        """What the model says to a batch of prompts, each with a seed of its own."""
        config, device = self.config, self.model.device
        ends = _ids(self.tokenizer.eos_token_id) + _ids(self.model.generation_config.eos_token_id)
        ids, mask = padded(prompts, ends[0] if ends else 0, "left", device)  # [B, T]
        draw: list[Any] = []
        if config.temperature > 0:
            draw = [TemperatureLogitsWarper(config.temperature), TopPLogitsWarper(config.top_p), OwnNoise(own, device)]
        written = self.model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=config.max_new_tokens,
            min_new_tokens=1,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
            logits_processor=LogitsProcessorList(draw),
            stopping_criteria=StoppingCriteriaList([StopText(self.tokenizer, config.stop, ids.shape[1])]),
        )[:, ids.shape[1] :]  # [B, N]
        said = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [tidy(text, config.stop, row[-1] in ends) for text, row in zip(said, written.tolist(), strict=True)]


def _ids(token: int | list[int] | None) -> list[int]:
    return [] if token is None else [token] if isinstance(token, int) else list(token)


def _load(
    name: str, revision: str | None, device: str, quantize: bool | str, policy: Policy | None, hub: Hub | None
) -> Loaded:
    on_cuda = torch.device(device).type == "cuda"
    lost = [package for package in ("accelerate", "bitsandbytes") if find_spec(package) is None]
    four_bit = on_cuda and not lost if quantize == "auto" else bool(quantize)
    request = ModelRequest(name, revision or "main", "causal_lm", "bfloat16", None if four_bit else device)
    if not four_bit:
        return load(request, hub=hub, policy=policy)
    if not on_cuda or lost:
        cause = f"4-bit weights need a CUDA device (asked for: {device!r}) and bitsandbytes"
        raise InitialisationError(cause, request=request, hint="pip install 'phaita-models[4bit]', or quantize=False")
    return load(request, hub=hub, policy=policy, quantization_config=_nf4(), device_map={"": device})


def _nf4() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
