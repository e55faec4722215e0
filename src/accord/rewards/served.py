"""Rewards that are somewhere else: behind an HTTP server of one's own, or a judge behind one that speaks OpenAI's protocol."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from accord.errors import RewardError, wanted
from accord.rewards.asking import Endpoint
from accord.rewards.judge import Judge, PairJudge


class Served:
    """A reward behind a URL: JSON ``{"prompts": […], "completions": […], "group": […], column: […]}`` is posted to it, and
    ``{"rewards": [number or null, …]}`` comes back, one for each sample.

    Args:
        url: http://… or https://…. timeout: seconds for one answer. tries: a call that fails is made so many times.
    """

    def __init__(self, url: str, *, timeout: float = 120.0, tries: int = 3) -> None:
        wanted(url.startswith(("http://", "https://")), "a served reward wants a URL (http://…)", repr(url))
        wanted(timeout > 0 and tries >= 1, "a served reward wants timeout > 0 and tries >= 1", (timeout, tries))
        self.url, self.timeout, self.tries, self.name = url, timeout, tries, url

    def __call__(self, *, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Raises RewardError where the server doesn't answer, or not with one number (or null) for each sample."""
        try:
            body = json.dumps({"prompts": list(prompts), "completions": list(completions), **columns}).encode()
        except TypeError as error:
            raise RewardError(f"{self.url} takes what JSON can say: {error}") from None
        said = self._posted(body)
        found = said.get("rewards") if isinstance(said, dict) else None
        if not isinstance(found, list) or len(found) != len(prompts):
            raise RewardError(
                f'{self.url} answered {json.dumps(said)[:80]}, but {{"rewards": [one number or null for each of {len(prompts)} samples]}} is wanted'
            )
        return found

    def _posted(self, body: bytes) -> Any:
        for last in range(1, self.tries + 1):
            try:
                asked = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(asked, timeout=self.timeout) as answer:
                    return json.loads(answer.read())
            except (OSError, ValueError) as error:
                theirs = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if theirs or last == self.tries:
                    raise RewardError(f"{self.url} does not answer: {error}") from None
                time.sleep(0.5 * last)
        raise AssertionError


def rated_by(model: str, url: str | None = None, *, tries: int = 1) -> Judge:
    """A model behind an OpenAI-compatible server that gives each answer a number from 1 to 10.

    Args:
        model: its name there. url: of the server, ending in /v1; none is OpenAI's own. tries: asked so often, its mean counts.
    """
    return Judge(Endpoint(model, url, temperature=0.0 if tries == 1 else 1.0), tries=tries)


def compared_by(model: str, url: str | None = None) -> PairJudge:
    """A model behind an OpenAI-compatible server that says which of two answers is better, by its labels' log-probabilities.

    Asked in the one order that it is given, so that a liking for a place can be measured.

    Args:
        model: its name there. url: of the server, ending in /v1; none is OpenAI's own.
    """
    return PairJudge(Endpoint(model, url))
