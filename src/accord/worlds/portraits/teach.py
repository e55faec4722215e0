"""How the world's models learn from its renders: algorithms for `fit`, whose data are numbers of batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from accord.engine import Learner, Loss, Mean, Rows, Step, derive, generator
from accord.engine.batch import Batch
from accord.policies.diffusion.schedule import Schedule, training_levels
from accord.worlds.portraits.lessons import Shots, parameters
from accord.worlds.portraits.people import People
from accord.worlds.portraits.prompts import PHRASES, prompts, read_prompt
from accord.worlds.portraits.readers import Reader
from accord.worlds.portraits.render import render

SMALL_PARTS = ("eyes", "brows", "mouth", "nose", "glasses")
"""Parts that a mean over pixels would neglect, and that identity and attributes hang on."""


@dataclass(frozen=True)
class Renders(Batch):
    """Pictures, how much each pixel counts, and whom and what they show."""

    image: Float[Tensor, "n 3 h w"]
    weight: Float[Tensor, "n h w"]
    people: People


class Reconstruct(Learner):
    """Train an autoencoder: absolute error (small parts count more), its differences between neighbours, a little KL, and what
    a reader of plain renders still reads off the reconstruction."""

    def __init__(self, vae: Any, teacher: Reader, *, kl: float = 1e-5, focus: float = 4.0, edges: float = 1.0,
                 lesson: float = 0.02) -> None:  # fmt: skip
        super().__init__()
        self.teacher, self.lesson = [teacher], lesson
        self.vae, self.kl, self.focus, self.edges = vae.to(memory_format=torch.channels_last), kl, focus, edges

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"vae": self.vae}

    def experience(self, batch: Rows, step: Step) -> Renders:
        people = People.draw(len(batch), derive(step.seed, step.number, step.rank, purpose="renders"), held_out=None)
        picture = render(people)
        small = torch.stack([picture.masks[p] for p in SMALL_PARTS]).sum(0)
        return Renders(picture.image, 1 + self.focus * small, people)

    def forward(self, batch: Renders) -> Loss:
        x = (batch.image * 2 - 1).contiguous(memory_format=torch.channels_last)
        posterior = self.vae.encode(x).latent_dist
        y = self.vae.decode(posterior.sample()).sample
        error = ((y - x).abs().mean(1) * batch.weight).mean((1, 2))
        edges = sum(((y.diff(dim=d) - x.diff(dim=d)).abs().mean((1, 2, 3)) for d in (-1, -2)), torch.zeros(len(x)))
        kl = posterior.kl()
        shots = Shots(y / 2 + 0.5, batch.people, torch.zeros(len(x), dtype=torch.long), 0)
        read = torch.stack(list(parameters(self.teacher[0], shots).values())).sum(0)
        each = error + self.edges * edges + self.kl * kl + self.lesson * read
        return Loss(each.sum(), float(len(x)), {"error": Mean.of(error), "edges": Mean.of(edges), "kl": Mean.of(kl), "read": Mean.of(read)})  # fmt: skip


@dataclass(frozen=True)
class Noised(Batch):
    """Latents at random levels with their noise and what the text encoder made of their prompts."""

    clean: Float[Tensor, "n c h w"]
    noise: Float[Tensor, "n c h w"]
    level: Float[Tensor, "n"]
    words: Float[Tensor, "n l d"]


@dataclass(frozen=True)
class Asked(Batch):
    """Tokens of prompts, and for each attribute which of its wishes they hold (the last: none)."""

    tokens: Int[Tensor, "n l"]
    wishes: Int[Tensor, "n a"]


class Understand(Learner):
    """Train a text encoder: from the state at a prompt's end, tell every attribute's wish. Data are numbers of prompts."""

    def __init__(self, text_encoder: Any, tokenise: Callable[[list[str]], Int[Tensor, "n l"]]) -> None:
        super().__init__()
        width = text_encoder.config.hidden_size
        heads = nn.ModuleDict({a: nn.Linear(width, len(said) + 1) for a, said in PHRASES.items()})
        self.words = nn.ModuleDict({"text_encoder": text_encoder, "heads": heads})
        self.tokenise = tokenise

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"words": self.words}

    def experience(self, batch: Rows, step: Step) -> Asked:
        seed = derive(step.seed, step.number, step.rank, purpose="words")
        texts = prompts(len(batch), seed, wishes=(0, len(PHRASES)))
        rows = [{w.attribute: w.value for w in read_prompt(t)} for t in texts]
        wishes = [[[*said].index(r[a]) if a in r else len(said) for a, said in PHRASES.items()] for r in rows]
        return Asked(self.tokenise(texts), torch.tensor(wishes))

    def forward(self, batch: Asked) -> Loss:
        # The end token pads, too, and sees all before it: every one of them must have understood.
        states = self.words["text_encoder"](batch.tokens).last_hidden_state
        end = batch.tokens == batch.tokens[:, -1:]
        last = torch.stack([states[:, -1], states[torch.arange(len(states)), end.int().argmax(1)]])
        found = [cross_entropy(head(last).flatten(0, 1), batch.wishes[:, i].repeat(2), reduction="none")
                 for i, head in enumerate(self.words["heads"].values())]  # type: ignore[operator]  # fmt: skip
        error = torch.stack(found).mean(0).reshape(2, -1).mean(0)
        return Loss(error.sum(), float(len(error)), {"error": Mean.of(error)})


class Denoise(Learner):
    """Train a denoiser on what a frozen text encoder says: squared error of the target, prompts dropped for guidance.

    Args:
        latents: of all pictures, and tokens of their prompts; data are their numbers. empty: tokens of no prompt.
        drop: share of prompts that are replaced by the empty one.
    """

    def __init__(self, denoiser: Any, text_encoder: Any, scheduler: Any, latents: Float[Tensor, "m c h w"], tokens: Int[Tensor, "m l"],
                 empty: Int[Tensor, "l"], *, drop: float = 0.1) -> None:  # fmt: skip
        super().__init__()
        self.denoiser, self.text_encoder = denoiser.to(memory_format=torch.channels_last), [text_encoder.eval()]
        self.scheduler, self.latents, self.tokens, self.empty, self.drop = scheduler, latents, tokens, empty, drop
        self.schedule = Schedule.of(scheduler, 1)

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"denoiser": self.denoiser}

    def experience(self, batch: Rows, step: Step) -> Noised:
        g = generator(step.seed, step.number, step.rank, purpose="denoise")
        clean, tokens = self.latents[list(batch)].float(), self.tokens[list(batch)]
        dropped = torch.rand(len(batch), generator=g) < self.drop
        tokens = torch.where(dropped[:, None], self.empty, tokens)
        words = self.text_encoder[0](tokens).last_hidden_state
        return Noised(clean, torch.randn(clean.shape, generator=g), torch.rand(len(batch), generator=g), words)

    def forward(self, batch: Noised) -> Loss:
        timestep, alpha, sigma = training_levels(self.scheduler, batch.level)
        a, s = alpha[:, None, None, None], sigma[:, None, None, None]
        noisy = (a * batch.clean + s * batch.noise).contiguous(memory_format=torch.channels_last)
        out = self.denoiser(noisy, timestep, encoder_hidden_states=batch.words).sample
        error = (out - self.schedule.target(batch.clean, batch.noise, a, s)).square().mean((1, 2, 3))
        return Loss(error.sum(), float(len(error)), {"error": Mean.of(error)})
