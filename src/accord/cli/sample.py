"""accord sample: answers or pictures of a policy, perhaps the best of several."""

from collections.abc import Sequence
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from accord.algorithms.options import options_of
from accord.catalogue import find
from accord.cli.clips import save_clip
from accord.cli.data import at_least_one
from accord.cli.embedded import rows_of
from accord.cli.intake import Intake
from accord.cli.lengths import fits
from accord.cli.options import check_options, writable
from accord.cli.policies import Size, check_policy, kind_of_policy, open_policy
from accord.cli.rewards import RewardSpec, check_reward, open_reward
from accord.cli.shape import Shape
from accord.engine.run import write_text
from accord.errors import ConfigError
from accord.evaluation.pictures import save_picture
from accord.feedback import Record, text_of
from accord.policies import ControlPolicy, LanguagePolicy, capabilities
from accord.policies.placement import device_of, dtype_of
from accord.search import best_of_n, noise_optimise

Search = Literal["none", "best-of-n", "reno"]
COMMON = {"policy", "reward", "prompts", "sampling", "seed", "columns"}
"""Arguments of a search that the command has for all."""


def sample(
    policy: str,
    prompt: str | None = None,
    data: str | None = None,
    search: Search = "none",
    reward: RewardSpec | None = None,
    n: int = 1,
    options: dict[str, Any] | None = None,
    sampling: Any = None,
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    limit: int | None = None,
    seed: int = 0,
    size: Size = None,
    device: str = "auto",
    dtype: str = "auto",
    out: str | None = None,
) -> None:
    """Draw answers or pictures; with a search only those that a reward likes most.

    Args:
        policy: hub name, folder, .gguf file, diffusers pipeline, adapter folder, or letters, portraits, smollm2.
        prompt: one prompt.
        data: or a file of prompts, or those of letters or portraits.
        search: best-of-n keeps the best of n; reno improves a picture's start noise by the reward's gradient.
        reward: what the search goes by: a saved reward, file.py:function, package.module:name, or rules by name.
        n: completions of each prompt.
        options: of the search, by name.
        sampling: how completions are drawn.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        seed: of the draws.
        size: of pictures in pixels, a side or [height, width], of clips [frames, height, width]; none is what the pipeline makes by itself.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator.
        out: file for JSON lines (standard output without); for pictures a folder, which gets samples.jsonl beside them, and for each clip a folder of its frames.
    """
    if (prompt is None) == (data is None):
        raise ConfigError("give either --prompt or --data")
    if (search != "none") != (reward is not None):
        raise ConfigError("--search best-of-n (or reno) and --reward go together")
    at_least_one(n=n, limit=limit)
    given = {} if search != "reno" else check_options([noise_optimise], options or {}, search, hidden=COMMON)
    pictures = check_policy(policy) is not LanguagePolicy
    if pictures and out is None:
        raise ConfigError("pictures want a folder to go to: give --out")
    if search == "reno" and n > 1:
        raise ConfigError("reno improves one picture of each prompt: leave --n out, or search with best-of-n")
    dtype_of(dtype, device_of(device))
    if reward is not None:
        check_reward(reward)
    source: Any = [{"prompt": prompt}] if data is None else rows_of(data, (Record,), seed, limit)
    intake = Intake.read(source, columns, skip_bad, limit, chat, name=data)
    made = open_policy(policy, device=device, dtype=dtype, seed=seed, size=size)
    chooser = None if reward is None else open_reward(reward, device, dtype)
    writes = getattr(sampling, "max_new_tokens", 1)
    short = [fits(intake, made, writes=1), *([fits(intake, chooser, writes=writes)] if chooser else [])]
    records = list(intake.sift(intake.records, *short, purpose="answer"))
    if data is not None:
        intake.tell(to_be_answered=len(records))
    prompts = [r.prompt for r in records]
    values: Sequence[float | None]
    completions: Sequence[Any]
    if search == "reno" and chooser is not None:
        found = noise_optimise(made, chooser, records, sampling=sampling, seed=seed, **given)
        completions, values = list(found.images.cpu()), found.values.tolist()
    elif chooser is not None:
        drawn, said = best_of_n(made, chooser, records, n, sampling, seed=seed)
        completions, values = drawn.completions, said.values.tolist()
    else:
        drawn = made.sample(prompts, n, sampling, seed=seed)
        prompts, completions, values = drawn.prompt_of_each(), drawn.completions, [None] * len(drawn)
    _write(prompts, completions, values, out)


def _write(prompts: Sequence[Any], completions: Sequence[Any], values: Sequence[float | None], out: str | None) -> None:
    """JSON lines; pictures as files beside them, clips as strips and as folders of their frames."""
    rows = []
    pictures = bool(completions) and isinstance(completions[0], Tensor)
    for i, (prompt, completion, value) in enumerate(zip(prompts, completions, values, strict=True)):
        if pictures:
            assert out is not None
            name = f"{i:04d}.png"
            save_picture(completion, Path(out) / name)
            if completion.ndim == 4:
                save_clip(completion, Path(out) / (name := f"{i:04d}"))
            prompt, completion = text_of(prompt), name
        rows.append({"prompt": prompt, "completion": completion, **({} if value is None else {"reward": value})})
    text = "".join(dumps(r) + "\n" for r in rows)
    if out is None:
        print(text, end="")
    else:
        write_text(Path(out) / "samples.jsonl" if pictures else Path(out), text)
        print(f"{len(rows)} {'pictures' if pictures else 'answers'} in {out}")


def shape(given: dict[str, Any]) -> Shape:
    """What `accord sample` takes in a call: its policy's way of drawing, and the search's own options."""
    search, policy = given.get("search") or "none", given.get("policy")
    if search not in get_args(Search):
        raise ConfigError(f"no search called {search!r}; there are {', '.join(get_args(Search))}")
    kind: Any = LanguagePolicy
    if isinstance(policy, str):
        kind = kind_of_policy(policy)
        if kind is ControlPolicy:
            raise ConfigError(
                "accord sample writes answers and pictures; a control policy acts: use its sample(…) in Python"
            )
    elif search == "reno":
        kind = kind_of_policy("portraits")
    sampling, options, about = kind.sampling_kind(), {}, (sample.__doc__ or "").partition("\n")[0]
    if search == "reno":
        wanted = options_of(find("reno").load())
        capabilities.check(kind, capabilities.Differentiable, search)
        options = {k: o for k, o in wanted.items() if k not in COMMON and writable(o.kind)}
        sampling, about = (
            replace(sampling, steps=1, guidance=1.0, eta=0.0),
            find("reno").title,
        )  # one step, no fresh noise
    return Shape(about, options, sampling, who="accord sample" if search == "none" else search)
