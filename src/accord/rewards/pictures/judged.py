"""Pictures judged in words, by a model that sees."""

from typing import Any

from accord.feedback import Prompt
from accord.policies.diffusion import as_picture
from accord.rewards.answers import number
from accord.rewards.asking import Endpoint
from accord.rewards.judge import Judge, filled

RUBRIC = """Here is a request and a picture that was made for it.

Request:
{prompt}

Picture:
{completion}

Does the picture show what was asked for, and is it well made? Judge it from 1 (useless) to 10 (could not be better). End with the number alone."""


def vision_judge(model: str, url: str | None = None, rubric: str = RUBRIC, *, low: float = 1.0, high: float = 10.0, tries: int = 1,
                 temperature: float = 0.0, max_tokens: int = 512, at_once: int = 8, timeout: float = 120.0, folder: str | None = None) -> Judge:  # fmt: skip
    """The last number that a model behind a server writes of each picture, from [low, high] to [0, 1]. An answer without such a number has no value.

    Args:
        model: its name there. url: of a server that speaks OpenAI's chat protocol with pictures (vLLM, SGLang, Ollama), ending in /v1; None is
            OpenAI's own.
        rubric: the question, with {prompt}, {completion} where the picture is shown (else it comes first) and any columns.
        low, high: within which its number must lie. tries: asked so often, the mean counts.
        temperature, max_tokens: how it writes. at_once: questions under way together. timeout: seconds for one.
        folder: where verdicts are kept between runs.
    """
    asked = Endpoint(model, url, temperature=temperature, max_tokens=max_tokens, at_once=at_once, timeout=timeout)
    whole = rubric if "{completion}" in rubric else f"{{completion}}\n\n{rubric}"

    def question(*, prompt: Prompt, completion: Any, **columns: Any) -> Prompt:
        return filled(whole, prompt=prompt, completion=as_picture(completion), **columns)

    return Judge(asked, question, number(low, high), low=low, high=high, tries=tries, folder=folder)
