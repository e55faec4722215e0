"""accord sample: answers of a policy, perhaps the best of several."""

from json import dumps
from pathlib import Path
from typing import Literal

from accord.cli.data import at_least_one
from accord.cli.intake import Intake
from accord.cli.lengths import fits
from accord.cli.rewards import RewardSpec, check_reward, open_reward
from accord.engine.run import write_text
from accord.errors import ConfigError
from accord.policies import LanguagePolicy, Sampling
from accord.policies.placement import device_of, dtype_of
from accord.search import best_of_n


def sample(
    model: str,
    prompt: str | None = None,
    data: str | None = None,
    search: Literal["none", "best-of-n"] = "none",
    reward: RewardSpec | None = None,
    n: int = 1,
    sampling: Sampling = Sampling(),
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    out: str | None = None,
) -> None:
    """Draw answers; with --search best-of-n only the one the reward likes most.

    Args:
        model: policy: hub name, folder, adapter folder or .gguf file.
        prompt: one prompt.
        data: or a file of prompts.
        search: how to choose among the n answers.
        reward: what chooses.
        n: answers to each prompt.
        sampling: how answers are drawn.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        seed: of the draws.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator.
        out: file for JSON lines; standard output without.
    """
    if (prompt is None) == (data is None):
        raise ConfigError("give either --prompt or --data")
    if (search == "best-of-n") != (reward is not None):
        raise ConfigError("--search best-of-n and --reward go together")
    at_least_one(n=n)
    dtype_of(dtype, device_of(device))
    if reward is not None:
        check_reward(reward)
    intake = Intake.read([{"prompt": prompt}] if data is None else data, columns, skip_bad, None, chat)
    policy = LanguagePolicy.load(model, device=device, dtype=dtype)
    chooser = None if reward is None else open_reward(reward, device, dtype)
    short = [
        fits(intake, policy, writes=1),
        *([fits(intake, chooser, writes=sampling.max_new_tokens)] if chooser else []),
    ]
    records = intake.sift(intake.records, *short, purpose="answer")
    if data is not None:
        intake.tell(to_be_answered=len(records))
    if chooser is not None:
        drawn, said = best_of_n(policy, chooser, list(records), n, sampling, seed=seed)
        values: list[float | None] = list(said.values.tolist())
    else:
        drawn = policy.sample([r.prompt for r in records], n, sampling, seed=seed)
        values = [None] * len(drawn)
    rows = [
        {"prompt": p, "completion": c, **({} if v is None else {"reward": v})}
        for p, c, v in zip(drawn.prompt_of_each(), drawn.completions, values, strict=True)
    ]
    text = "".join(dumps(r) + "\n" for r in rows)
    if out is None:
        print(text, end="")
    else:
        write_text(Path(out), text)
        print(f"{len(rows)} answers in {out}")
