"""Generate complaints in a patient's words with a causal language model; `phaita.models.templates` needs none.

A generated complaint is not the record of any patient. This software is not a medical device.
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
from phaita.models._inference import batches, default_device, evaluating, max_positions, pad
from phaita.models._sampling import RowNoise, StopMarks, clean_complaint
from phaita.models._seeds import item_seeds
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
    """The settings of sampling.

    temperature: 0 always takes the likeliest token. top_p: nucleus sampling (Holtzman et al., 2020).
    stop: texts that end a complaint, beside the model's own end token; leading white space does not end it.
    batch_tokens: the size of a batch, with its prompts and its new tokens.

    Raises ValueError for an invalid number.
    """

    max_new_tokens: int = 150
    temperature: float = 0.8
    top_p: float = 0.9
    stop: tuple[str, ...] = ("\n", "[INST]")
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.batch_tokens < 1:
            raise ValueError(f"max_new_tokens and batch_tokens must be 1 or more, got {self}")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature must be 0 or more, top_p above 0 and at most 1, got {self}")


class ComplaintGenerator(nn.Module):
    """Writes complaints with a given causal language model; `from_pretrained` loads one.

    A complaint depends on its presentation, the seed and its index in the list, not on the other presentations, up to
    rounding in the model. torch's global generator is not used.
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
        """Load model and tokenizer from the Hub, by default to CUDA if available.

        model_name and quantize default to those of `config`, if it is a `Config`, else to the package's. quantize: True
        for 4-bit NF4 weights (Dettmers et al., 2023) by bitsandbytes; "auto" (`use_quantization`) for them where CUDA
        and bitsandbytes are available. Otherwise the weights are bfloat16. fallback: "template" returns a
        `TemplateComplaintGenerator`, which is another type, after a failed load, and logs a warning.

        Raises ModelDownloadError or InitialisationError for a failed load, ValueError for an unknown fallback.
        """
        if fallback not in (None, "template"):
            raise ValueError(f'fallback must be None or "template", got {fallback!r}')
        named, own = (config.model, None) if isinstance(config, Config) else (_DEFAULT, config)
        name = model_name or named.mistral_model
        if quantize is None:
            quantize = "auto" if named.use_quantization else False
        try:
            loaded = _load(name, revision, default_device(device), quantize, policy, hub)
        except (ModelDownloadError, InitialisationError) as error:
            if fallback is None:
                raise
            _LOG.warning("complaints are written by templates, as %s did not load: %s", name, error.cause)
            return TemplateComplaintGenerator()
        generator = cls(loaded.model, loaded.tokenizer, own)
        generator.eval()
        return generator

    def generate_complaint(self, presentation: PatientPresentation, *, seed: int | None = None) -> str:
        """Return the first complaint that `generate_complaints` returns for this seed."""
        return self.generate_complaints([presentation], seed=seed)[0]

    def generate_complaints(
        self, presentations: Sequence[PatientPresentation], *, seed: int | None = None
    ) -> list[str]:
        """Return a complaint for each presentation, in their order; with seed None they are new each time.

        A complaint that reached `max_new_tokens` is cut back to whole sentences, if it has one. An empty answer is "".
        Raises ValueError if prompt and new tokens need more positions than the model has.
        """
        prompts = [self._prompt_ids(presentation) for presentation in presentations]
        row_seeds = item_seeds(seed, len(prompts))
        complaints = [""] * len(prompts)
        lengths = [len(prompt) + self.config.max_new_tokens for prompt in prompts]
        self._check_length(max(lengths, default=0))
        with torch.no_grad(), evaluating(self.model):
            for batch in batches(lengths, self.config.batch_tokens):
                texts = self._generate([prompts[index] for index in batch], [row_seeds[index] for index in batch])
                for index, text in zip(batch, texts, strict=True):
                    complaints[index] = text
        return complaints

    def forward(self, presentations: Sequence[PatientPresentation], complaints: Sequence[str]) -> Tensor:
        """Return the log-probability of each complaint and its end token, given its presentation: [B], with gradient.

        Fine-tuning maximises it, and `RealismLoss` weights it. It is the plain model's, without temperature and
        nucleus, over the tokenizer's tokens of the text.
        """
        end = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        prompts = [self._prompt_ids(presentation) for presentation in presentations]
        answers = [[*self.tokenizer(text, add_special_tokens=False).input_ids, *end] for text in complaints]
        pairs = list(zip(prompts, answers, strict=True))
        device = self.model.device
        ids, mask = pad([prompt + answer for prompt, answer in pairs], 0, "right", device)  # [B, T]
        is_answer, _ = pad([[0] * len(prompt) + [1] * len(answer) for prompt, answer in pairs], 0, "right", device)
        logits = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1]  # [B, T-1, V]
        losses = functional.cross_entropy(logits.transpose(1, 2).float(), ids[:, 1:], reduction="none")  # [B, T-1]
        return -(losses * is_answer[:, 1:]).sum(1)

    def prompt(self, presentation: PatientPresentation) -> str:
        """Return the prompt. It does not name the condition, so that the complaint does not either."""
        return _TASK.format(
            age=_AGE.get(presentation.age_group or "", ""),
            symptoms="; ".join(lexicon()[symptom].phrases[0] for symptom in presentation.symptoms),
            severity=_SEVERITY.get(presentation.severity or "", ""),
        )

    def _prompt_ids(self, presentation: PatientPresentation) -> list[int]:
        """Return the prompt's token ids, by the tokenizer's chat template, else as plain text to continue."""
        text = self.prompt(presentation)
        if self.tokenizer.chat_template is None:
            return list(self.tokenizer(f"{text}\n\nPatient:").input_ids)
        chat = [{"role": "user", "content": text}]  # no system role: some templates, such as Mistral's, have none
        return list(self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True).input_ids)

    def _check_length(self, longest: int) -> None:
        room = max_positions(self.model)
        if room is not None and longest > room:
            raise ValueError(f"prompt and max_new_tokens need {longest} positions; the model has positions for {room}")

    def _generate(self, prompts: Sequence[Sequence[int]], row_seeds: Sequence[int]) -> list[str]:
        """Return the model's answers to a batch of prompts, each with its own seed."""
        config, device = self.config, self.model.device
        ends = _token_ids(self.tokenizer.eos_token_id) + _token_ids(self.model.generation_config.eos_token_id)
        ids, mask = pad(prompts, ends[0] if ends else 0, "left", device)  # [B, T]
        processors: list[Any] = []
        if config.temperature > 0:
            processors = [
                TemperatureLogitsWarper(config.temperature),
                TopPLogitsWarper(config.top_p),
                RowNoise(row_seeds, device),
            ]
        tokens = self.model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,  # the noise draws: with sampling on, all rows would share one generator
            max_new_tokens=config.max_new_tokens,
            min_new_tokens=1,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([StopMarks(self.tokenizer, config.stop, ids.shape[1])]),
        )[:, ids.shape[1] :]  # [B, N]
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [
            clean_complaint(text, config.stop, row[-1] in ends)
            for text, row in zip(texts, tokens.tolist(), strict=True)
        ]


def _token_ids(token: int | list[int] | None) -> list[int]:
    return [] if token is None else [token] if isinstance(token, int) else list(token)


def _load(
    name: str, revision: str | None, device: str, quantize: bool | str, policy: Policy | None, hub: Hub | None
) -> Loaded:
    on_cuda = torch.device(device).type == "cuda"
    missing = [package for package in ("accelerate", "bitsandbytes") if find_spec(package) is None]
    four_bit = on_cuda and not missing if quantize == "auto" else bool(quantize)
    # With 4-bit weights the device comes from device_map below.
    request = ModelRequest(name, revision or "main", "causal_lm", "bfloat16", None if four_bit else device)
    if not four_bit:
        return load(request, hub=hub, policy=policy)
    if not on_cuda or missing:
        cause = f"4-bit weights need a CUDA device (asked for: {device!r}) and bitsandbytes"
        raise InitialisationError(cause, request=request, hint="pip install 'phaita-models[4bit]', or quantize=False")
    return load(request, hub=hub, policy=policy, quantization_config=_nf4_config(), device_map={"": device})


def _nf4_config() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
