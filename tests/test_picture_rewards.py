"""Networks that score pictures: read from files as they are published, beside what transformers or the networks' own makers compute."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel, SiglipImageProcessorPil, SiglipModel

from accord.algorithms import DRaFT
from accord.engine import fit
from accord.errors import ConfigError, ModelError
from accord.policies.diffusion import Denoising
from accord.rewards import Aesthetics, Cached, CLIPScore, HPSv2, ImageReward, PickScore, SigLIP, score
from accord.rewards.pictures.preprocessing import Preprocessing
from tiny_pipelines import policy
from tiny_rewards import (
    SIDE,
    aesthetics_folder,
    clip_folder,
    head,
    hps_folder,
    image_reward_folder,
    siglip_folder,
)
from two_devices import FAR

PROMPTS = ["a red cat", "a person with a hat", "a red cat"]


class Made(NamedTuple):
    """One of the rewards, from a folder, and another computation of it on prepared pictures."""

    load: Callable[..., Any]
    peer: Callable[[Tensor, list[str]], Tensor]


@pytest.fixture(scope="module")
def all_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    where = tmp_path_factory.mktemp("published")
    clip, siglip = str(clip_folder(where / "clip")), str(siglip_folder(where / "siglip"))
    hps, hps_peer = hps_folder(where / "hps")
    beauty, beauty_head = aesthetics_folder(where / "aesthetics")
    rated, rated_peer = image_reward_folder(where / "image-reward")
    model, odds = CLIPModel.from_pretrained(clip).eval(), SiglipModel.from_pretrained(siglip).eval()

    def told(folder: Any, texts: list[str], length: int) -> Any:
        return AutoTokenizer.from_pretrained(folder)(
            texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )

    def clip_logits(x: Tensor, texts: list[str]) -> Tensor:
        return model(pixel_values=x, **told(clip, texts, 24)).logits_per_image.diagonal()

    return {
        "clip-score": Made(lambda **o: CLIPScore(clip, **o), lambda x, t: 2.5 * clip_logits(x, t) / model.logit_scale.exp()),
        "pickscore": Made(lambda **o: PickScore(clip, clip, **o), clip_logits),
        "siglip": Made(lambda **o: SigLIP(siglip, **o),
                       lambda x, t: odds(pixel_values=x, input_ids=told(siglip, t, 8)["input_ids"]).logits_per_image.diagonal()),
        "hps": Made(lambda **o: HPSv2(str(hps), processor=str(hps), **o), lambda x, t: hps_peer(x, told(hps, t, 24)["input_ids"])),
        "aesthetics": Made(lambda **o: Aesthetics(str(beauty), clip, **o), lambda x, t: beauty_head(
            normalize(model.get_image_features(pixel_values=x).pooler_output, dim=-1))[:, 0]),
        "image-reward": Made(lambda **o: ImageReward(str(rated), str(rated), **o), lambda x, t: rated_peer(x, **told(rated, t, 35))),
    }  # fmt: skip


NAMES = ("clip-score", "pickscore", "siglip", "hps", "aesthetics", "image-reward")


def pictures(height: int = SIDE, width: int = SIDE, n: int = 3) -> Tensor:
    """Smooth ones, away from black and white, in steps of 1/255."""
    g = torch.Generator().manual_seed(7)
    coarse = torch.rand(n, 3, 6, 6, generator=g) * 0.6 + 0.2
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return (fine * 255).round() / 255


def pil(x: Tensor) -> list[Image.Image]:
    return [Image.fromarray((p * 255).round().byte().permute(1, 2, 0).numpy()) for p in x]


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_the_one_of_the_networks_own_makers(name: str, all_of: dict[str, Made]) -> None:
    reward, x = all_of[name].load(), pictures()
    found = reward(prompts=PROMPTS, completions=x).values
    assert torch.allclose(found, all_of[name].peer(reward.see(x), PROMPTS), atol=1e-4, rtol=1e-5)
    assert float(found.std()) > 1e-3, "it tells pictures apart"
    assert torch.allclose(found, reward(prompts=PROMPTS, completions=pil(x)).values, atol=1e-5), (
        "PIL's pictures are the same"
    )


@torch.no_grad()
@pytest.mark.parametrize("size", [(SIDE, SIDE), (64, 64), (50, 81), (97, 40), (19, 22)], ids=str)
def test_scores_through_pil_are_the_same_to_a_hundredth(size: tuple[int, int], all_of: dict[str, Made]) -> None:
    """Larger, smaller and oblong pictures, prepared by transformers' processors, which round to bytes."""
    x = pictures(*size)
    theirs = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    squeezed = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    for name in NAMES:
        if name == "hps":
            prepared = torch.stack([bordered(p) for p in pil(x)])
        else:
            prepared = (squeezed if name == "siglip" else theirs)(images=pil(x), return_tensors="pt")["pixel_values"]
        should = all_of[name].peer(prepared, PROMPTS)
        found = all_of[name].load()(prompts=PROMPTS, completions=x).values
        relative = 5e-3 if name == "pickscore" else 0.0  # it is up to a hundred times a cosine
        assert torch.allclose(found, should, atol=1e-2, rtol=relative), name


def bordered(picture: Image.Image) -> Tensor:
    """As HPS v2's own code prepares one: the longer side to the network's, black borders, CLIP's mean and spread."""
    scale = SIDE / max(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    whole = Image.new("RGB", (SIDE, SIDE))
    whole.paste(picture.resize((width, height), Image.Resampling.BICUBIC), ((SIDE - width) // 2, (SIDE - height) // 2))
    as_clip = CLIPImageProcessorPil(do_resize=False, do_center_crop=False)
    return as_clip(images=[whole], return_tensors="pt")["pixel_values"][0]


def test_siglip_reads_words_in_lower_case(all_of: dict[str, Made]) -> None:
    values = [all_of["siglip"].load()(prompts=[t] * 2, completions=pictures(n=2)).values for t in ("A Red CAT", "a red cat", "a hat")]  # fmt: skip
    assert torch.equal(values[0], values[1])
    assert not torch.allclose(values[1], values[2], atol=1e-3)


def test_another_tokeniser_is_another_reward(all_of: dict[str, Made]) -> None:
    ours, again, other = (all_of["clip-score"].load() for _ in range(3))
    other.words.tokenizer.add_tokens(["tricycle"])
    assert ours.fingerprint == again.fingerprint != other.fingerprint


def test_a_picture_that_is_not_square_gets_black_borders_from_hps(all_of: dict[str, Made]) -> None:
    reward, x = all_of["hps"].load(), pictures(42, 84)
    whole = torch.nn.functional.pad(x, (0, 0, 21, 21))
    ours, theirs = reward.see(x), reward.see(whole)
    inside = slice(9, 19)  # without the rows in which resizing mixes picture and border
    assert torch.allclose(ours[..., inside, :], theirs[..., inside, :], atol=1e-4)
    assert torch.equal(ours[..., :5, :], theirs[..., :5, :])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [SIDE, 45])
def test_the_gradient_is_that_of_finite_differences(name: str, side: int, all_of: dict[str, Made]) -> None:
    reward, x = all_of[name].load(), pictures(side, side + 6).requires_grad_()
    (grad,) = torch.autograd.grad(reward(prompts=PROMPTS, completions=x).values.sum(), x)
    assert not any(w.requires_grad for w in reward.network.parameters())
    direction = normalize(grad.flatten(), dim=0).view_as(x)
    step = 0.02

    @torch.no_grad()
    def at(by: float) -> float:
        return float(reward(prompts=PROMPTS, completions=x + by * direction).values.double().sum())

    # Five points: what is left of the network's curvature falls with the fourth power of the step.
    slope = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
    assert slope == pytest.approx(float(grad.norm()), rel=0.01)
    assert slope > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_score_does_not_depend_on_the_others(name: str, all_of: dict[str, Made]) -> None:
    reward, x = all_of[name].load(), pictures()
    together = reward(prompts=PROMPTS, completions=x).values
    alone = torch.cat([reward(prompts=[p], completions=c[None]).values for p, c in zip(PROMPTS, x, strict=True)])
    turned = reward(prompts=PROMPTS[::-1], completions=[*x.flip(0)]).values.flip(0)
    mixed = reward(prompts=PROMPTS[:2], completions=[x[0], pictures(40, 30)[0]]).values
    for other in (alone, turned, torch.cat([mixed[:1], together[1:]])):
        assert torch.allclose(together, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_says_nearly_the_same_in_single(name: str, all_of: dict[str, Made]) -> None:
    single, half, x = all_of[name].load(), all_of[name].load(dtype="bfloat16"), pictures()
    assert torch.bfloat16 in {w.dtype for w in half.network.parameters()}
    should, grad = with_gradient(single, x)
    found, rough = with_gradient(half, x)
    assert found.dtype == rough.dtype == torch.float32
    near = 0.02 * getattr(single.network, "scale", 1.0) if name == "pickscore" else 0.05
    assert torch.allclose(found, should, atol=near, rtol=0.02)
    assert torch.nn.functional.cosine_similarity(rough.flatten(), grad.flatten(), dim=0) > 0.97
    assert getattr(half.network, "scale", None) == getattr(single.network, "scale", None), "read before it is rounded"


def with_gradient(reward: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    said = score(reward, prompts=PROMPTS, completions=x).values
    return said.detach(), torch.autograd.grad(said.sum(), x)[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_reward_follows_its_pictures_to_their_device(name: str, all_of: dict[str, Made]) -> None:
    reward, x = all_of[name].load(), pictures(40, 32)
    should, grad = with_gradient(reward, x)
    found, there = with_gradient(reward, x.to(FAR))
    assert found.device == there.device == FAR == next(reward.network.parameters()).device
    assert torch.allclose(found.cpu(), should, atol=1e-4, rtol=1e-4)
    assert torch.allclose(there.cpu(), grad, atol=1e-4, rtol=1e-3)
    assert reward(prompts=PROMPTS[:1], completions=pil(x)[:1]).values.device == FAR, (
        "pictures in files come to the network"
    )


@pytest.mark.parametrize("resample", [2, 3], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(90, 70), (20, 20), (31, 57)], ids=str)
def test_resizing_is_pils(size: tuple[int, int], resample: int, tmp_path: Path) -> None:
    theirs = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, resample=resample
    )
    theirs.save_pretrained(tmp_path)
    x = (torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    ours = Preprocessing.load(str(tmp_path))(x)
    should = theirs(images=pil(x), return_tensors="pt")["pixel_values"]
    assert ours.shape == should.shape
    assert float((ours - should).abs().max()) * 0.27 < 2.5 / 255, "but for its rounding to bytes, twice"


def test_what_is_beyond_a_text_encoder_is_said_once(all_of: dict[str, Made], caplog: pytest.LogCaptureFixture) -> None:
    reward, x = all_of["clip-score"].load(), pictures()[:2]
    long = " ".join(["red"] * 30)
    with torch.no_grad():
        found = [reward(prompts=[long, long + " cat"], completions=x[[0, 0]]).values for _ in range(2)]
    assert found[0][0] == found[0][1]
    assert [r.message for r in caplog.records if "longer than the 24 tokens" in r.message] == [
        "2 of 2 prompts are longer than the 24 tokens that the reward reads: their ends don't count"
    ]


def test_scores_are_kept_by_the_weights(all_of: dict[str, Made], tmp_path: Path) -> None:
    def kept(seed: int) -> Cached:
        clip = clip_folder(tmp_path / f"clip-{seed}", seed)
        return Cached(CLIPScore(str(clip)), tmp_path / "cache")

    x = pictures()
    first, again, other = kept(0), kept(0), kept(1)
    should = first(prompts=PROMPTS, completions=x).values
    assert torch.equal(again(prompts=PROMPTS, completions=x).values, should)
    assert (again.hits, again.misses) == (3, 0)
    assert not torch.allclose(other(prompts=PROMPTS, completions=x).values, should)


def test_its_gradient_reaches_a_diffusion_policy(all_of: dict[str, Made]) -> None:
    p = policy("sd", lora=2)
    algorithm = DRaFT(p, all_of["clip-score"].load(), k=1, sampling=Denoising(steps=2, guidance=2.0, eta=0.0))
    row = fit(algorithm, PROMPTS[:2], steps=1, batch_size=2, lr=1e-3, progress=False).metrics[0]
    assert row["grad_norm"] > 0


def test_linear_heads_are_read_too(all_of: dict[str, Made], tmp_path: Path) -> None:
    """LAION's first predictor has one layer, and safetensors are as good as torch's own files."""
    clip = str(clip_folder(tmp_path / "clip"))
    torch.save(
        {"weight": torch.arange(16.0)[None], "bias": torch.tensor([2.0])}, tmp_path / "sa_0_4_vit_l_14_linear.pth"
    )
    reward, x = Aesthetics(str(tmp_path / "sa_0_4_vit_l_14_linear.pth"), clip), pictures()
    with torch.no_grad():
        features = normalize(reward.network["clip"].get_image_features(reward.see(x)).pooler_output, dim=-1)
        assert torch.allclose(
            reward(prompts=PROMPTS, completions=x).values, features @ torch.arange(16.0) + 2, atol=1e-4
        )


def wrong(kind: str, at: Path) -> Any:
    """Something that a user may get wrong."""
    clip = str(clip_folder(at / "clip"))
    if kind == "no such folder":
        return CLIPScore(str(at / "nothing"))
    if kind == "another head":
        torch.save(
            {f"layers.{k}": v for k, v in head(8).state_dict().items() if not k.startswith("2")},
            at / "aesthetic-model.pth",
        )
        return Aesthetics(str(at), clip)
    if kind == "no weights":
        return HPSv2(clip, processor=clip)
    if kind == "no open_clip":
        torch.save({"a": torch.zeros(2)}, at / "HPS_v2.1_compressed.pt")
        return HPSv2(str(at), processor=clip)
    if kind == "half of open_clip":
        folder, model = hps_folder(at / "hps")
        weights = {k: v for k, v in model.state_dict().items() if k != "ln_final.bias"}
        torch.save({"state_dict": weights}, folder / "HPS_v2.1_compressed.pt")
        return HPSv2(str(folder), processor=clip)
    if kind == "more than tensors":
        (at / "HPS_v2.1_compressed.pt").write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
        return HPSv2(str(at), processor=clip)
    CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(clip)
    return CLIPScore(clip)


@pytest.mark.parametrize(("kind", "says"), [
    ("no such folder", "can't load a CLIPModel from .*nothing"), ("another head", "holds no head"),
    ("no weights", r"can't load weights from .*: .*HPS_v2\.1_compressed\.pt"), ("no open_clip", "holds no ViT of open_clip"),
    ("half of open_clip", "1 are amiss, the first is text_model.final_layer_norm.bias"), ("more than tensors", "can't load weights"),
    ("another preparation", "in a way that isn't known here"),
])  # fmt: skip
def test_what_can_not_be_read_is_one_line(kind: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        wrong(kind, tmp_path)
    assert "\n" not in str(caught.value)


def test_pictures_out_of_range_are_refused(all_of: dict[str, Made]) -> None:
    with pytest.raises(ModelError, match=r"values lie in \[0, 1\]"):
        all_of["clip-score"].load()(prompts=["a"], completions=pictures()[:1] * 2 - 1)
    with pytest.raises(ConfigError, match="dtype="):
        all_of["clip-score"].load(dtype="half of it")
