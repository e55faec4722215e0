"""Requests over HTTP: pictures as text, bodies and answers as JSON, tried again where that may help."""

import base64
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

from accord.errors import RewardError
from accord.feedback import Message
from accord.policies.diffusion import as_picture

Format = Literal["png", "jpeg"]
PAUSE = 0.5
"""Seconds before the second try; twice as many before each further one."""


def base64_of(picture: Any, kind: Format = "png") -> str:
    """A picture (see `as_picture`) as the base64 of a file."""
    from PIL import Image

    pixels = (as_picture(picture).detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().contiguous()
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, kind.upper(), **({"quality": 95} if kind == "jpeg" else {}))
    return base64.b64encode(file.getvalue()).decode()


def url_of(picture: Any) -> str:
    """A picture as chat protocols take it: a URL as it is, anything else within one."""
    if isinstance(picture, str) and picture.startswith(("http://", "https://", "data:")):
        return picture
    return f"data:image/png;base64,{base64_of(str(picture) if isinstance(picture, Path) else picture)}"


def turns_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A conversation as chat protocols take it, its pictures within."""
    return [
        {**m, "content": [_part(p) for p in m["content"]]} if isinstance(m["content"], list) else dict(m)
        for m in messages
    ]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url_of(part["image"])}} if part.get("type") == "image" else part


def post(url: str, body: Mapping[str, Any], *, timeout: float, tries: int) -> Any:
    """What a server answers to a JSON body. Asked again where it isn't there, is overloaded or fails, not where it refuses.

    Raises:
        RewardError: it still doesn't answer, refuses, or answers with something else than JSON.
    """
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    for n in range(tries):
        last = n + 1 == tries
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                text = answer.read().decode(errors="replace")
            break
        except urllib.error.HTTPError as error:
            why = f"refuses ({error.code}): {_line(error.read().decode(errors='replace'))}"
            last = last or (error.code < 500 and error.code != 429)
        except (OSError, HTTPException, ValueError) as error:
            why = f"does not answer: {_line(str(getattr(error, 'reason', error)))}"
            last = last or isinstance(error, ValueError)
        if last:
            raise RewardError(f"{url} {why}")
        time.sleep(PAUSE * 2**n)
    try:
        return json.loads(text)
    except ValueError:
        raise RewardError(f"{url} answers with something else than JSON: {_line(text)}") from None


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
