"""Servers that sample for a policy: it hands its adapter over whenever that has changed, and gets back tokens, as they were drawn."""

import contextlib
import json
import secrets
import shutil
import tempfile
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch

from accord.engine.seeds import Seeds, derive, numbered
from accord.errors import ConfigError, RunError, wanted
from accord.policies.base import Sampling
from accord.policies.generate import Drawn


class Engine(Protocol):
    """Draws continuations of token ids by the weights that it was last given."""

    def follow(self, policy: Any) -> None: ...
    def draw(self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, *, seed: int | Seeds, ends: set[int]) -> Drawn: ...  # fmt: skip


PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Said with every request: a server takes what it isn't told from the model's generation_config.json, and many of those cut draws off."""


class VLLM:
    """A vLLM server, started with ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank RANK
    --logprobs-mode processed_logprobs`` (its log-probs are those at temperature 1 otherwise). It must read the folder under which adapters are written.

    Args:
        url: of the server, without /v1. model: its name there.
        folder: where adapters are handed over; None takes a temporary one, for a server on this machine.
        name: of the adapter; behind it come letters of this engine's own, and its version. at_once: so many requests together. timeout: seconds for one.
    """

    load, unload = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"

    def __init__(self, url: str, model: str, *, folder: str | Path | None = None, name: str = "accord", at_once: int = 64,
                 timeout: float = 600.0) -> None:  # fmt: skip
        wanted(at_once >= 1 and timeout > 0, "an engine wants at_once >= 1 and timeout > 0", (at_once, timeout))
        self.url, self.model, self.at_once, self.timeout = url.rstrip("/"), model, at_once, timeout
        self.name, self._versions = f"{name}-{secrets.token_hex(3)}", 0  # several runs may share a server
        self._own = tempfile.TemporaryDirectory(prefix="accord-engine-") if folder is None else None
        self.folder = Path(folder or self._own.name)  # type: ignore[union-attr]
        self._now: tuple[float, ...] | None = None
        self._loaded: str | None = None
        self._leave: Callable[[], object] = lambda: None

    def __deepcopy__(self, memo: Any) -> "VLLM":
        return self  # a copied policy asks the same server

    def follow(self, policy: Any) -> None:
        """Hand the policy's adapter over, if it has changed since.

        Raises:
            ConfigError: it has none; whole weights go over no wire.
        """
        if not policy.adapted:
            raise ConfigError("an engine takes adapters, not whole weights: load the policy with lora=…")
        now = (
            id(policy),
            *(
                float(x)
                for p in policy.adapter_weights().values()
                for x in (p.detach().double().sum(), p.detach().double().norm())
            ),
        )
        if now == self._now:
            return
        new = f"{self.name}-{self._versions}"
        policy.save(self.folder / new)
        self._post(self.load, {"lora_name": new, "lora_path": str((self.folder / new).resolve())})
        self._leave()
        self._leave = weakref.finalize(self, _unload, self.url + self.unload, new, self.folder / new)
        self._now, self._loaded, self._versions = now, new, self._versions + 1

    def draw(self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, *, seed: int | Seeds, ends: set[int]) -> Drawn:  # fmt: skip
        """n continuations of each prompt, those of a prompt together."""
        one, numbers = numbered(seed, len(prompts))
        asked = [
            self.request(list(p), n, sampling, derive(one, row, purpose="engine") % 2**31)
            for p, row in zip(prompts, numbers, strict=True)
        ]
        with ThreadPoolExecutor(self.at_once) as pool:
            found = list(pool.map(lambda r: self.read(self._post(*r)), asked))
        rows = [row for some in found for row in some]
        if len(rows) != n * len(prompts):
            raise RunError(f"{self.url} gave {len(rows)} continuations of {n * len(prompts)}")
        ids, logprobs, stopped = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
        for row, (own, told) in enumerate(zip(ids, logprobs, strict=True)):
            if stopped[row] and not sampling.stop and (not own or own[-1] not in ends):  # some leave the end token out
                own.append(min(ends))
                told.append(float("nan"))
        pad = torch.nn.utils.rnn.pad_sequence
        mask = pad([torch.ones(len(x), dtype=torch.bool) for x in ids], batch_first=True)
        return Drawn(
            ids,
            mask,
            pad([torch.tensor(x, dtype=torch.float32) for x in logprobs], batch_first=True),
            torch.tensor(stopped),
        )

    def request(self, prompt: list[int], n: int, sampling: Sampling, seed: int) -> tuple[str, dict[str, Any]]:
        """Where to ask, and what."""
        return "/v1/completions", {
            "model": self._loaded or self.model, "prompt": prompt, "n": n, "max_tokens": sampling.max_new_tokens, "seed": seed,
            "temperature": sampling.temperature, "top_p": sampling.top_p, "stop": list(sampling.stop) or None,
            "include_stop_str_in_output": True, "skip_special_tokens": False, "logprobs": 0, "return_token_ids": True, **PLAIN,
        }  # fmt: skip

    def read(self, answer: dict[str, Any]) -> list[tuple[list[int], list[float], bool]]:
        """Ids, log-probs and whether it ended by itself, of each continuation.

        Raises:
            RunError: the server tells no token ids.
        """
        rows = []
        for c in answer["choices"]:
            if c.get("token_ids") is None or c.get("logprobs") is None:
                raise RunError(
                    f"{self.url} returns no token ids and log-probs: accord never tokenises again what was drawn (vLLM does from 0.10.2 on)"
                )
            rows.append((list(c["token_ids"]), list(c["logprobs"]["token_logprobs"]), c["finish_reason"] == "stop"))
        return rows

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return _asked(self.url + path, body, self.timeout)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:200]
            raise RunError(f"{self.url}{path} refuses ({error.code}): {said}") from None
        except OSError as error:
            raise RunError(f"no engine at {self.url}: {getattr(error, 'reason', error)}") from None


def _asked(url: str, body: dict[str, Any], timeout: float) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        text = answer.read().decode()
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unload(url: str, name: str, folder: Path) -> None:
    """Of an adapter that is out of date, or whose engine is gone: a server that is gone too needs no telling."""
    with contextlib.suppress(OSError):
        _asked(url, {"lora_name": name}, 10.0)
    shutil.rmtree(folder, ignore_errors=True)


class SGLang(VLLM):
    """An SGLang server, started with ``--enable-lora --max-lora-rank RANK``; see `VLLM`."""

    load, unload = "/load_lora_adapter", "/unload_lora_adapter"

    def request(self, prompt: list[int], n: int, sampling: Sampling, seed: int) -> tuple[str, dict[str, Any]]:
        told = {"n": n, "max_new_tokens": sampling.max_new_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p,
                "sampling_seed": seed, "stop": list(sampling.stop) or None, "no_stop_trim": True, "skip_special_tokens": False, **PLAIN}  # fmt: skip
        return "/generate", {
            "input_ids": prompt,
            "sampling_params": told,
            "return_logprob": True,
            "lora_path": self._loaded,
        }

    def read(self, answer: Any) -> list[tuple[list[int], list[float], bool]]:
        rows = []
        for c in answer if isinstance(answer, list) else [answer]:
            told = c["meta_info"]
            drawn = told["output_token_logprobs"]
            rows.append(
                ([int(t[1]) for t in drawn], [float(t[0]) for t in drawn], told["finish_reason"]["type"] == "stop")
            )
        return rows
