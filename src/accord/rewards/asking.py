"""Whom a judge asks: a policy, or any server that speaks OpenAI's chat protocol (vLLM, SGLang, transformers serve, Ollama), in words and pictures."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import ConfigError, RewardError, wanted
from accord.feedback import Prompt, pictures_of
from accord.policies.base import Group, Sampling
from accord.policies.capabilities import Likelihood, Samples
from accord.rewards.wire import turns_of


class Asked(Protocol):
    """Answers questions. `fingerprint` changes whenever its answers would."""

    @property
    def fingerprint(self) -> str: ...
    def write(self, questions: Sequence[Prompt], n: int = 1, seed: int = 0) -> list[list[str]]: ...
    def choose(self, questions: Sequence[Prompt], labels: Sequence[str]) -> Float[Tensor, "n k"]: ...


class Generative(Samples, Likelihood, Protocol):
    """draws completions and says how likely it finds those that it is given"""


class PolicyJudge:
    """A policy as a judge.

    Args:
        policy: as it is when it is asked; `policy.freeze("now")` stays. sampling: how it writes.
        trains: let `choose` keep its gradient.
    """

    def __init__(
        self, policy: Generative, sampling: Sampling = Sampling(max_new_tokens=256), *, trains: bool = False
    ) -> None:
        self.policy, self.sampling, self.trains = policy, sampling, trains

    @property
    def fingerprint(self) -> str:
        """Of a frozen policy; one that may still change has none, and nothing that it says is kept."""
        found = getattr(self.policy, "fingerprint", "")
        return f"{found}:{self.sampling}" if found else ""

    def write(self, questions: Sequence[Prompt], n: int = 1, seed: int = 0) -> list[list[str]]:
        """n answers to each question."""
        _refuse_pictures(questions)
        said = self.policy.sample(list(questions), n, self.sampling, seed=seed).completions
        return [said[i : i + n] for i in range(0, len(said), n)]

    def choose(self, questions: Sequence[Prompt], labels: Sequence[str]) -> Float[Tensor, "n k"]:
        """Log-probability of each label as the beginning of its answer."""
        _refuse_pictures(questions)
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            found = self.policy.likelihood([Group(q, tuple(labels)) for q in questions])
        assert found.per_step is not None
        steps = torch.arange(found.per_step.shape[-1], device=found.length.device)
        said = found.per_step.masked_fill(steps >= (found.length - 1)[:, None], 0.0)  # without the end of the answer
        return said.sum(-1).reshape(len(questions), len(labels))


class Endpoint:
    """A model behind a server that speaks OpenAI's chat protocol.

    Args:
        model: its name there. url: of the server, ending in /v1; None is OpenAI's own. key: its key; None reads OPENAI_API_KEY.
        temperature, max_tokens: how it writes. at_once: so many questions are under way together. timeout: seconds for one.
        tries: a question that fails is asked so many times.

    Raises:
        ConfigError: the package openai is not there.
    """

    def __init__(self, model: str, url: str | None = None, *, key: str | None = None, temperature: float = 0.0, max_tokens: int = 512,
                 at_once: int = 8, timeout: float = 120.0, tries: int = 3) -> None:  # fmt: skip
        wanted(
            min(at_once, tries, max_tokens) >= 1,
            "an endpoint wants at_once, tries and max_tokens of at least 1",
            (at_once, tries, max_tokens),
        )
        try:
            from openai import OpenAI, OpenAIError
        except ImportError as error:
            raise ConfigError("asking a server wants the package openai: pip install 'accord[judge]'") from error
        try:
            self._client = OpenAI(
                base_url=url, api_key=key or ("none" if url else None), timeout=timeout, max_retries=tries - 1
            )
        except OpenAIError as error:
            raise ConfigError(f"can't ask {model}: {str(error).splitlines()[0]}") from None
        self._errors = OpenAIError
        self.model, self.url, self.temperature, self.max_tokens, self.at_once = (
            model,
            url,
            temperature,
            max_tokens,
            at_once,
        )

    @property
    def fingerprint(self) -> str:
        return f"{self.url}:{self.model}:{self.temperature}:{self.max_tokens}"

    def write(self, questions: Sequence[Prompt], n: int = 1, seed: int = 0) -> list[list[str]]:
        """n answers to each question."""
        asked = [(q, seed + i * n + j) for i, q in enumerate(questions) for j in range(n)]
        said = self._all(
            [
                {"messages": _turns(q), "seed": s, "temperature": self.temperature, "max_tokens": self.max_tokens}
                for q, s in asked
            ]
        )
        texts = [r.choices[0].message.content or "" for r in said]
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def choose(self, questions: Sequence[Prompt], labels: Sequence[str]) -> Float[Tensor, "n k"]:
        """Log-probability of each label as the first token of its answer, among its likeliest 20; what is not there is less likely
        than the last of them.

        Raises:
            RewardError: the server tells no log-probabilities.
        """
        said = self._all(
            [
                {"messages": _turns(q), "temperature": 0.0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
                for q in questions
            ]
        )
        return torch.tensor([self._of_labels(r, labels) for r in said])

    def _of_labels(self, answer: Any, labels: Sequence[str]) -> list[float]:
        told = answer.choices[0].logprobs
        if told is None or not told.content:
            raise RewardError(
                f"{self.model} tells no log-probabilities of its tokens: use a judge that writes its verdict (labels=None)"
            )
        first = [(t.token.strip(), t.logprob) for t in told.content[0].top_logprobs]
        least = min((p for _, p in first), default=0.0)
        return [
            _joined([p for t, p in first if t == label]) if any(t == label for t, _ in first) else least
            for label in labels
        ]

    def _all(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        def ask(request: dict[str, Any]) -> Any:
            return self._client.chat.completions.create(model=self.model, **request)

        try:
            with ThreadPoolExecutor(self.at_once) as pool:
                return list(pool.map(ask, requests))
        except self._errors as error:
            where = self.url or "OpenAI"
            raise RewardError(f"{self.model} at {where} does not answer: {str(error).splitlines()[0][:200]}") from None


def _refuse_pictures(questions: Sequence[Prompt]) -> None:
    if any(pictures_of(q) for q in questions):
        raise ConfigError("a language policy sees no pictures: let an Endpoint judge them (vision_judge)")


def _turns(question: Prompt) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}] if isinstance(question, str) else turns_of(question)


def _joined(logprobs: Sequence[float]) -> float:
    """Of several spellings of a label (with a space before it, and without) together."""
    most = max(logprobs)
    return most + math.log(sum(math.exp(p - most) for p in logprobs))
