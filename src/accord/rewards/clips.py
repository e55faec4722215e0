"""Rewards of pictures, on clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.errors import ConfigError, RewardError
from accord.policies.diffusion.pictures import as_clip
from accord.rewards.combine import reward_of
from accord.rewards.reward import Reward, load_state_of, name_of, score, state_of
from accord.rewards.scores import Scores


class Framewise:
    """``mean_t r(x_t)`` over the frames of a clip, with their gradient: a picture's reward for clips [frames, 3, height, width], or lists of
    pictures.

    A frame to which the reward does not apply does not count; a clip of such frames alone has no value.

    Args:
        reward: of pictures, any.
        every: look at every so many frames, from the first.
    """

    def __init__(self, reward: Reward, every: int = 1) -> None:
        if every < 1:
            raise ConfigError(f"every={every}: look at every frame (1), or at fewer")
        self.reward, self.every = reward_of(reward), every
        self.name = name_of(self.reward)

    def __call__(self, *, prompts: Sequence[Any], completions: Any, group: Sequence[int], **columns: Any) -> Scores:
        if (text := next((c for c in completions if isinstance(c, str | Path)), None)) is not None:
            raise RewardError(
                f"reward {self.name} looks at the frames of clips, but {str(text)[:60]!r} is no folder of frames"
            )
        if any(getattr(clip, "ndim", 4) != 4 for clip in completions):
            raise RewardError(
                f"reward {self.name} looks at the frames of clips, but these are pictures: take it as it is"
            )
        clips = [as_clip(clip)[:: self.every] for clip in completions]
        frames = [frame for clip in clips for frame in clip]
        of = [i for i, clip in enumerate(clips) for _ in clip]
        more: Any = {name: [column[i] for i in of] for name, column in columns.items()}
        said = score(self.reward, prompts=[prompts[i] for i in of], completions=frames, group=[group[i] for i in of], **more)  # fmt: skip
        sizes = [len(clip) for clip in clips]
        total = torch.stack([x.sum() for x in (said.values * said.valid).split(sizes)])
        count = torch.stack([x.sum() for x in said.valid.split(sizes)])
        return Scores(total / count.clamp(min=1), count > 0)

    def state(self) -> dict[str, Tensor]:
        return state_of(self.reward)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_state_of(self.reward, state)
