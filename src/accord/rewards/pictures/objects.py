"""GenEval's checks: are the objects there that were asked for, as many, in their colours and places?"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from accord.errors import RewardError
from accord.policies.diffusion import as_picture
from accord.rewards.scores import Scores
from accord.rewards.wire import base64_of, post

Object = Mapping[str, Any]
"""Something in a picture: label, box (left, top, right, bottom), score in [0, 1], and its color where that was looked at."""
Detector = Callable[[Sequence[Tensor], Sequence[list[str]]], Sequence[Sequence[Object]]]
"""What is in each of several pictures, of the labels that are looked for."""


class ObjectChecks:
    """1 where a picture holds what GenEval's columns ask for, else 0 (Ghosh et al. 2023, arXiv 2310.11513).

    ``include`` is a list of ``{"class", "count"}``, perhaps with a ``"color"`` or a ``"position"`` such as ``["left of", 0]``, by the number of
    an earlier entry; ``exclude`` lists what must not be there so often; ``tag`` "counting" wants a surer detector. Records without `include`
    do not apply.

    Args:
        detector: the URL of a server, or a function. The server is sent ``{"images": […], "labels": [[…]]}`` by POST, pictures as base64 of PNG, and
            answers with a list for each picture, bare or under "objects", of ``{"label", "box", "score"}`` and, for prompts with colours, "color".
        threshold, counting: what an object's score must be above, elsewhere and where objects are counted.
        most: so many of a label at most count, the surest first.
        graded: the share of checks that hold, instead of whether all do.
        timeout, tries: seconds for a request, and how often it is made.

    Raises:
        RewardError: the detector is not there, or says something else.
    """

    def __init__(self, detector: str | Detector, *, threshold: float = 0.3, counting: float = 0.9, most: int = 16, graded: bool = False,
                 timeout: float = 120.0, tries: int = 3) -> None:  # fmt: skip
        self.detector = _Server(detector, timeout, tries) if isinstance(detector, str) else detector
        self.threshold, self.counting, self.most, self.graded = threshold, counting, most, graded

    def __call__(self, *, prompts: Sequence[Any], completions: Any, include: Any = None, exclude: Any = None, tag: Any = None,
                 **columns: Any) -> Scores:  # fmt: skip
        n = len(prompts)
        if include is None:
            raise RewardError(
                f"object checks read the column 'include' (GenEval's), but the data have only {sorted(columns)}"
            )
        include, exclude, tag = include, exclude or [None] * n, tag or [None] * n
        asked = [
            ([_asked(x, at) for at, x in enumerate(i or ())], [_asked(x, 0) for x in e or ()])
            for i, e in zip(include, exclude, strict=True)
        ]
        found = self.detector(
            [as_picture(c) for c in completions], [sorted({x["class"] for x in [*i, *e]}) for i, e in asked]
        )
        if len(found) != n:
            raise RewardError(f"the detector says what is in {len(found)} of {n} pictures")
        checks = [self._checks(objects, i, e, self.counting if t == "counting" else self.threshold)
                  for objects, (i, e), t in zip(found, asked, tag, strict=True)]  # fmt: skip
        values = [sum(c) / len(c) if self.graded and c else float(all(c)) for c in checks]
        return Scores(torch.tensor(values), torch.tensor([bool(i) for i in include]))

    def _checks(
        self, objects: Sequence[Object], include: Sequence[Any], exclude: Sequence[Any], threshold: float
    ) -> list[bool]:
        """Whether each thing that is asked for is so."""
        there: dict[str, list[Object]] = {}
        for o in sorted(map(_object, objects), key=lambda o: -o["score"]):
            if o["score"] > threshold and len(there.setdefault(o["label"], [])) < self.most:
                there[o["label"]].append(o)
        held: list[list[Object]] = []
        checks: list[bool] = []
        for ask in include:
            group = there.get(ask["class"], [])[: ask["count"]]
            fine = [len(group) == ask["count"]]
            if "color" in ask:
                fine.append(fine[0] and sum(_color(o) == ask["color"] for o in group) == ask["count"])
            if "position" in ask:
                where, of = ask["position"]
                fine.append(
                    all(fine)
                    and bool(held[of])
                    and all(where in relations(a["box"], b["box"]) for a in group for b in held[of])
                )
            held.append(group if all(fine) else [])
            checks += fine
        return checks + [len(there.get(e["class"], [])) < e["count"] for e in exclude]


def relations(a: Sequence[float], b: Sequence[float], slack: float = 0.1) -> set[str]:
    """Where box a lies, seen from box b; they may overlap a little."""
    found = set()
    off = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1)]
    free = [max(abs(d) - slack * (abs(a[i + 2] - a[i]) + abs(b[i + 2] - b[i])), 0.0) for i, d in enumerate(off)]
    length = (off[0] ** 2 + off[1] ** 2) ** 0.5
    for d, f, less, more in zip(off, free, ("left of", "above"), ("right of", "below"), strict=True):
        if length and f / length > 0.5:
            found.add(less if d < 0 else more)
    return found


def _asked(x: Any, at: int) -> Mapping[str, Any]:
    """The entry of this number in what is asked for, checked."""
    place = x.get("position", ("", -1)) if isinstance(x, Mapping) else ()
    of = place[1] if isinstance(place, list | tuple) and len(place) == 2 else at
    if not (
        isinstance(x, Mapping)
        and isinstance(x.get("class"), str)
        and isinstance(x.get("count"), int)
        and isinstance(of, int)
        and ("position" not in x or 0 <= of < at)
    ):
        raise RewardError(
            f"GenEval's columns ask by class, count, color, position (with the number of an earlier entry), not by {str(x)[:100]}"
        )
    return x


def _object(o: Any) -> Object:
    """One that a detector found, checked."""
    box = o.get("box") if isinstance(o, Mapping) else None
    numbers = [*box, o.get("score")] if isinstance(box, list | tuple) else []
    if len(numbers) != 5 or not all(isinstance(v, int | float) for v in numbers) or not isinstance(o.get("label"), str):
        raise RewardError(f"a detector says label, box (four numbers) and score of an object, not {str(o)[:100]}")
    return o


def _color(o: Object) -> Any:
    if "color" not in o:
        raise RewardError(f"a prompt asks for a colour, but the detector says none of {o['label']!r}")
    return o["color"]


class _Server:
    def __init__(self, url: str, timeout: float, tries: int) -> None:
        self.url, self.timeout, self.tries = url, timeout, tries

    def __call__(self, pictures: Sequence[Tensor], labels: Sequence[list[str]]) -> Sequence[Sequence[Object]]:
        body = {"images": [base64_of(p) for p in pictures], "labels": list(labels)}
        said = post(self.url, body, timeout=self.timeout, tries=self.tries)
        found = said.get("objects") if isinstance(said, Mapping) else said
        if not isinstance(found, list) or not all(isinstance(f, list) for f in found):
            raise RewardError(
                f"{self.url} answers with {str(said)[:100]} where a list of objects for each picture belongs"
            )
        return found
