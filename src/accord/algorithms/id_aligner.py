"""ID-Aligner: reward feedback that keeps a person and looks good (Chen et al. 2024, arXiv 2404.15449)."""

from typing import Any

from accord.algorithms.backprop import ReFL
from accord.algorithms.joint import Joint, Stream
from accord.algorithms.supervised import Supervised
from accord.errors import ConfigError
from accord.rewards import Reward, combine


def IDAligner(policy: Any, identity: Reward, aesthetics: Reward | None = None, *, denoise: bool | None = None,
              id_weight: float = 0.2, aes_weight: float = 0.001, last: int = 5, prompts: Any = None, **options: Any) -> Any:  # fmt: skip
    """``L = a_1 (1 - r_id) - a_2 r_aes`` at the picture predicted near the end, one step of gradient.

    With an image adapter that is all (its data are prompts that show a person). With a LoRA the denoising loss on the
    person's pictures goes beside it, whose rows (prompt and picture) `fit` then deals out.

    Args:
        identity: usually `IdentityConsistency`. aesthetics: any picture reward; its weight fits rewards of ImageReward's scale.
        denoise: whether to learn from pictures too; None where there is no image adapter.
        last: stop at a random one of so many last steps. options: of `ReFL`.
        prompts: for the feedback; None takes those of the pictures.
    """
    rewards: dict[str, Reward] = {"identity": identity}
    weights = {"identity": id_weight}
    if aesthetics is not None:
        rewards["aesthetics"], weights["aesthetics"] = aesthetics, aes_weight
    feedback = ReFL(policy, combine(rewards, weights=weights), last=last, **options)
    if denoise is None:
        denoise = getattr(policy, "image_adapter", None) is None
    if not denoise:
        if prompts is not None:
            raise ConfigError("without the denoising part the prompts are the data of fit(): leave `prompts` out")
        return feedback
    return Joint({"denoise": Stream(Supervised(policy)), "feedback": Stream(feedback, data=prompts)})
