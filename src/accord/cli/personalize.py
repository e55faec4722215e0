"""accord personalize: a user's own picture generator learns one face (or subject) and keeps it."""

from pathlib import Path
from typing import Any

import torch

from accord.algorithms import IDAligner
from accord.cli.data import first_process, quiet_diffusers, say
from accord.cli.rewards import RewardSpec, check_reward, open_function, open_reward
from accord.engine import Training, fit
from accord.engine.fit import Resume
from accord.engine.run import Run
from accord.errors import ConfigError, RunError
from accord.evaluation import Probe, write_report
from accord.evaluation.pictures import copying, save_picture
from accord.feedback import Example
from accord.identity import CallableEncoder, DlibFaces, FaceEncoder, IdentityConsistency, reference_vector
from accord.policies.diffusion import Denoising, DiffusionPolicy, as_picture, fitted

SCENES = (
    "a photo of {}", "a portrait of {}", "{} smiling", "{} wearing a hat", "{} outdoors", "{} on a beach", "{} in a library",
    "{} in a suit", "a black and white photo of {}", "a painting of {}", "{} in the snow", "{} wearing glasses",
)  # fmt: skip
"""What the feedback and the report ask for, where no prompts are given."""


def personalize(
    reference: str | list[str],
    model: str,
    out: str,
    subject: str = "sks person",
    prompts: str | None = None,
    encoder: str = "dlib",
    aesthetics: RewardSpec | None = None,
    lora: int = 16,
    id_weight: float = 0.2,
    aes_weight: float = 0.001,
    last: int = 5,
    sampling: Denoising = Denoising(steps=20, guidance=5.0, eta=0.0),
    training: Training = Training(steps=400, batch_size=1, lr=5e-5, checkpoint_every=50),
    device: str = "auto",
    dtype: str = "auto",
    resume: Resume = False,
) -> None:
    """Teach a diffusers pipeline one person from pictures, by LoRA with identity feedback (ID-Aligner, arXiv 2404.15449).

    Args:
        reference: picture file of the person, or several as a list.
        model: folder or hub name of a diffusers pipeline.
        out: folder of the run; the LoRA goes to OUT/policy, where pipe.load_lora_weights reads it.
        subject: words that will mean the person.
        prompts: text file, a prompt a line, in which {} stands for the subject; a dozen scenes otherwise.
        encoder: "dlib" for real faces, or file.py:function from pictures [n, 3, h, w] to vectors (with gradient).
        aesthetics: a second reward beside identity: file.py:function or a saved one.
        lora: rank of the adapter.
        id_weight: of the identity reward.
        aes_weight: of the second one.
        last: feedback at a random one of so many last denoising steps.
        sampling: how pictures are drawn.
        training: how to train.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator.
        resume: go on from the last checkpoint; "anyway" also with other options than the run began with.
    """
    quiet_diffusers()
    folder = Path(out)
    if (folder / "run.json").is_file() and not resume and Run.open(folder).metrics:
        raise RunError(f"{out} already holds a run: go on with --resume, or give another --out")
    scenes = _scenes(prompts, subject)
    pictures = [as_picture(r) for r in ([reference] if isinstance(reference, str) else reference)]
    faces = _encoder(encoder)
    vector = reference_vector(faces, pictures)
    if aesthetics is not None:
        check_reward(aesthetics)
    say(f"loading {model}")
    policy = DiffusionPolicy.load(model, lora=lora, device=device, dtype=dtype, seed=training.seed)
    extra = None if aesthetics is None else open_reward(aesthetics, device, dtype)
    shown = torch.stack([fitted(p, *policy.picture_size) for p in pictures])
    save_picture(shown[0], folder / "reference.png")
    identity = IdentityConsistency(faces, vector)
    rows = [Example(prompt=f"a photo of {subject}", completion=x) for x in shown]
    algorithm = IDAligner(policy, identity, extra, denoise=True, id_weight=id_weight, aes_weight=aes_weight, last=last,
                          sampling=sampling, prompts=scenes)  # fmt: skip
    rewards: dict[str, Any] = {"identity": identity, **({"aesthetics": extra} if extra else {})}
    probe = Probe(policy, scenes[:12], rewards, sampling, seed=training.seed, folder=folder)

    def look(step: int) -> dict[str, float]:
        measures = probe(step)
        drawn = [as_picture(p) for p in sorted((folder / "samples" / f"{step:06d}").glob("*.png"))]
        return {**measures, "copying": copying(drawn, shown[0])}

    info = {"title": f"{subject} in {Path(model).name}", "model": model, "data": f"{len(rows)} pictures", "optimised": "identity",
            "reward": f"identity by {encoder}", "story": STORY}  # fmt: skip
    fit(algorithm, rows, training, out=folder, evaluate=look, resume=resume, info=info)
    with first_process() as first:
        if first:
            policy.save(folder / "policy")
            print(f"LoRA: {folder / 'policy'}\nreport: {write_report(folder).resolve()}")


STORY = (
    "LoRA learned the reference pictures by denoising and, beside it, from the identity reward through one of the last denoising steps. "
    "The identity below is the encoder's that was trained on: judge the pictures with your own eyes, or with another encoder."
)


def _scenes(prompts: str | None, subject: str) -> list[str]:
    if prompts is None:
        return [s.format(subject) for s in SCENES]
    try:
        lines = [line.strip() for line in Path(prompts).read_text().splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError(f"can't read the prompts in {prompts}: {error.strerror or error}") from error
    missing = next((i for i, line in enumerate(lines, 1) if "{}" not in line), None)
    if not lines or missing:
        raise ConfigError(f"{prompts}{f':{missing}' if missing else ''} has no {{}} where the subject goes")
    return [line.replace("{}", subject) for line in lines]


def _encoder(spec: str) -> FaceEncoder:
    if spec == "dlib":
        return DlibFaces()
    if ":" not in spec:
        raise ConfigError(f"encoder={spec!r} is neither dlib nor file.py:function")
    return CallableEncoder(open_function(spec), differentiable=True)
