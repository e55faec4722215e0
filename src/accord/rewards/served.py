"""Rewards that are somewhere else: behind an HTTP server of one's own, or a judge behind one that speaks OpenAI's protocol."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor

from accord.errors import RewardError, wanted
from accord.feedback import is_picture
from accord.rewards.asking import Endpoint
from accord.rewards.judge import Judge, PairJudge
from accord.rewards.wire import Format, base64_of, post, turns_of

FIELDS = ("rewards", "scores", "values", "outputs", "results", "data", "reward", "score", "value")
"""Under which servers answer; the first that is there counts."""


class Served:
    """A reward behind a URL.

    JSON ``{"prompts": […], "completions": […], "group": […], column: […]}`` is posted to it, pictures as base64 under ``"images"``
    instead of completions (their files by name, as texts). It answers with one number for each sample, or null where it does not
    apply: ``{"rewards": […]}``, ``{"scores": […]}``, ``{"data": [{"score": …}, …]}``, or the bare list.

    Args:
        url: http://… or https://…, with the path.
        columns: all that is sent beside prompts and completions; None sends the group and every column of the data.
        names: what it calls these fields, ``{"prompts": "prompt", "images": "image"}``.
        field: where in its answer the numbers lie, "result.scores"; None looks for the usual names.
        picture: "png", or "jpeg", which is smaller and not quite the picture.
        single: it wants one sample at a time, no lists, and answers with one number.
        batch_size: samples in a request; None sends all at once, as rewards that compare a group want them.
        at_once: requests under way together. timeout: seconds for one answer. tries: a call that fails is made so many times.

    Raises:
        RewardError: the server is not there, refuses, or answers with something that isn't one number (or null) for each sample.
    """

    def __init__(self, url: str, *, columns: list[str] | None = None, names: Mapping[str, str] | None = None, field: str | None = None,
                 picture: Format = "png", single: bool = False, batch_size: int | None = None, at_once: int = 4, timeout: float = 120.0,
                 tries: int = 3) -> None:  # fmt: skip
        wanted(url.startswith(("http://", "https://")), "a served reward wants a URL (http://…)", repr(url))
        wanted(timeout > 0 and min(tries, at_once, batch_size or 1) >= 1, "a served reward wants timeout > 0 and tries, at_once, batch_size >= 1",
               (timeout, tries, at_once, batch_size))  # fmt: skip
        self.url = self.name = url
        self.columns, self.names, self.field, self.picture, self.single = (
            columns,
            dict(names or {}),
            field,
            picture,
            single,
        )
        self.batch_size, self.at_once, self.timeout, self.tries = 1 if single else batch_size, at_once, timeout, tries

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> list[float | None]:
        sent = self._sent(columns)
        n = len(prompts)
        size = self.batch_size or max(n, 1)

        def asked(start: int) -> list[float | None]:
            rows = range(start, min(start + size, n))
            return self._asked(
                [prompts[i] for i in rows],
                [completions[i] for i in rows],
                {c: [v[i] for i in rows] for c, v in sent.items()},
            )

        with ThreadPoolExecutor(self.at_once) as pool:
            return [v for some in pool.map(asked, range(0, n, size)) for v in some]

    def _sent(self, columns: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The columns that go along, each such as JSON can say."""
        names = columns.keys() if self.columns is None else self.columns
        missing = next((c for c in names if c not in columns), None)
        if missing is not None:
            raise RewardError(
                f"{self.url} is to be sent the column {missing!r}, but the data have only {sorted(columns)}"
            )
        for name in names:
            try:
                json.dumps(list(columns[name]))
            except (TypeError, ValueError) as error:
                raise RewardError(
                    f"{self.url} takes what JSON can say, which the column {name!r} is not: {error}; name the others: columns=[…]"
                ) from None
        return {c: list(columns[c]) for c in names}

    def _asked(self, prompts: list[Any], completions: list[Any], columns: dict[str, list[Any]]) -> list[float | None]:
        shown = "images" if isinstance(completions[0], Tensor) or is_picture(completions[0]) else "completions"
        said = [base64_of(c, self.picture) for c in completions] if shown == "images" else completions
        body: dict[str, Any] = {"prompts": [p if isinstance(p, str) else turns_of(p) for p in prompts], shown: said}
        body = {self.names.get(k, k): v[0] if self.single else v for k, v in {**body, **columns}.items()}
        return self._read(post(self.url, body, timeout=self.timeout, tries=self.tries), len(prompts))

    def _read(self, answer: Any, n: int) -> list[float | None]:
        """One number or None for each sample."""
        if isinstance(answer, Mapping) and answer.get("error"):
            raise RewardError(f"{self.url} answers with an error: {str(answer['error'])[:200]}")
        found = _at(answer, self.field) if self.field else _usual(answer)
        rows = [found] if self.single and not isinstance(found, list) else found
        if not isinstance(rows, list) or len(rows) != n:
            what = f"{len(rows)} values" if isinstance(rows, list) else str(answer)[:100]
            raise RewardError(
                f"{self.url} answers with {what}, but one number (or null) for each of {n} samples is wanted; option field says where they lie"
            )
        if all(isinstance(r, Mapping) and isinstance(r.get("index"), int) for r in rows):
            rows = sorted(rows, key=lambda r: r["index"])
        return [self._number(r) for r in rows]

    def _number(self, row: Any) -> float | None:
        value = _usual(row) if isinstance(row, Mapping) else row
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return None if value is None else float(value)
        raise RewardError(f"{self.url} answers with {repr(row)[:60]} where a number (or null) belongs")


def _at(answer: Any, path: str) -> Any:
    for name in path.split("."):
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    return answer


def _usual(answer: Any) -> Any:
    """What lies under the first of the usual names; a thing that has none of them as it is."""
    return next((answer[f] for f in FIELDS if f in answer), answer) if isinstance(answer, Mapping) else answer


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
    return PairJudge(Endpoint(model, url), both=False)
