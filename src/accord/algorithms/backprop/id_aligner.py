"""ID-Aligner: reward feedback that keeps a person and looks good."""

from collections.abc import Mapping
from typing import Any

from accord.algorithms.backprop.refl import ReFL
from accord.algorithms.joint import Joint, Stream
from accord.algorithms.supervised import Supervised
from accord.errors import ConfigError
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion.actions import Denoising
from accord.rewards import Reward, combine


class IDAligner(Joint):
    """``L = a_1 (1 - r_id) - a_2 r_aes`` at the picture predicted near the end, one step of gradient
    (Chen et al. 2024, arXiv 2404.15449).

    With an image adapter that is all (its data are prompts that show a person). With a LoRA the denoising loss on the
    person's pictures goes beside it, whose rows (prompt and picture) `fit` then deals out.

    Args:
        identity: usually `IdentityConsistency`. aesthetics: any picture reward; its weight fits rewards of ImageReward's scale.
        denoise: whether to learn from pictures too; None where there is no image adapter.
        id_weight, aes_weight: of the two rewards. last: stop at a random one of so many last steps.
        prompts: for the feedback; None takes those of the pictures.
        sampling, recompute: as for `ReFL`.
    """

    def __init__(self, policy: Differentiable, identity: Reward, aesthetics: Reward | None = None, *, denoise: bool | None = None,
                 id_weight: float = 0.2, aes_weight: float = 0.001, last: int = 5, prompts: Any = None,
                 sampling: Denoising | Mapping[str, Any] | None = None, recompute: bool = True) -> None:  # fmt: skip
        rewards: dict[str, Reward] = {"identity": identity}
        weights = {"identity": id_weight}
        if aesthetics is not None:
            rewards["aesthetics"], weights["aesthetics"] = aesthetics, aes_weight
        reward = combine(rewards, weights=weights)
        feedback = Stream(ReFL(policy, reward, last=last, sampling=sampling, recompute=recompute), data=prompts)
        if denoise is None:
            denoise = getattr(policy, "image_adapter", None) is None
        if not denoise and prompts is not None:
            raise ConfigError("without the denoising part the prompts are the data of fit(): leave `prompts` out")
        super().__init__({**({"denoise": Stream(Supervised(policy))} if denoise else {}), "feedback": feedback})
