"""A reward behind a server is the reward itself, pictures reach it as they are; what the server does wrong is one line."""

from typing import Any

import pytest
import torch
from torch import Tensor

from accord.cli.rewards import check_reward, open_reward
from accord.errors import ConfigError, RewardError
from accord.feedback import with_picture
from accord.rewards import Served, score
from accord.rewards.wire import base64_of, url_of
from serving import Answer, pixels


def pictures(n: int = 5) -> Tensor:
    return (torch.rand(n, 3, 6, 8, generator=torch.Generator().manual_seed(3)) * 255).round() / 255


def test_its_numbers_are_the_rewards_with_columns_and_without_those_that_do_not_apply(serve: Any) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return {"rewards": [len(c) + b if c else None for c, b in zip(body["completions"], body["bonus"], strict=True)]}

    server = serve(answer)
    check_reward(server.url)
    said = score(open_reward(server.url), prompts=["p"] * 3, completions=["a", "", "ccc"], bonus=[10, 0, 1])
    assert said.values.tolist() == [11.0, 0.0, 4.0]
    assert said.valid.tolist() == [True, False, True]
    assert [b["group"] for b in server.bodies] == [[0, 1, 2]], "all at once, with their group"


def brightness(body: dict[str, Any]) -> list[float]:
    return [float(pixels(i).mean()) for i in body["images"]]


SHAPES: dict[str, Answer] = {
    "bare": lambda values: values,
    "scores": lambda values: {"scores": values, "model": "x"},
    "rewards": lambda values: {"rewards": values, "error": None},
    "rows out of order": lambda values: {"data": [{"index": i, "score": v} for i, v in enumerate(values)][::-1]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_server_sees_the_very_pictures_and_its_numbers_come_back_in_order(shape: str, serve: Any) -> None:
    server, x = serve(lambda body: SHAPES[shape](brightness(body))), pictures()
    said = score(Served(server.url, batch_size=2), prompts=list("abcde"), completions=x)
    assert torch.allclose(said.values, x.mean((1, 2, 3)), atol=1e-6)
    assert sorted("".join(b["prompts"]) for b in server.bodies) == ["ab", "cd", "e"]


def test_a_server_is_asked_by_its_own_names_one_at_a_time_or_for_texts(serve: Any) -> None:
    x = pictures(2)
    names = {"prompts": "prompt", "images": "image", "tag": "kind"}
    single = serve(lambda body: {"result": {"value": float(pixels(body["image"]).mean())}})
    reward = Served(single.url, names=names, columns=["tag"], single=True, field="result.value", picture="png")
    said = score(reward, prompts=["p", "q"], completions=x, tag=["t", 3], other=[1, 2])
    assert torch.allclose(said.values, x.mean((1, 2, 3)), atol=1e-6)
    assert sorted((b["prompt"], b["kind"]) for b in single.bodies) == [("p", "t"), ("q", 3)]
    assert all(b.keys() == {"prompt", "image", "kind"} for b in single.bodies)
    lengths = serve(lambda body: [len(c) for c in body["completions"]])
    texts = score(Served(lengths.url), prompts=["p"] * 2, completions=["one", "three"])
    assert texts.values.tolist() == [3.0, 5.0]


def test_jpeg_is_nearly_the_picture() -> None:
    smooth = torch.linspace(0.2, 0.8, 32).expand(3, 32, 32)
    assert torch.allclose(pixels(base64_of(smooth, "jpeg")), smooth, atol=0.02)
    assert url_of("https://x/y.png") == "https://x/y.png"
    assert torch.allclose(pixels(url_of(smooth).partition("base64,")[2]), smooth, atol=0.5 / 255 + 1e-6)


def test_prompts_that_show_pictures_go_as_chat_protocols_have_them(serve: Any) -> None:
    server, x = serve(lambda body: [0.0]), pictures(2)
    score(Served(server.url), prompts=[with_picture("like this", x[0])], completions=x[1:])
    ((shown, words),) = [m["content"] for m in server.bodies[0]["prompts"][0]]
    assert torch.allclose(pixels(shown["image_url"]["url"].partition("base64,")[2]), x[0], atol=1e-6)
    assert words == {"type": "text", "text": "like this"}


def test_what_fails_is_asked_again_and_what_is_refused_is_not(serve: Any) -> None:
    states = [503, 429, 200]
    patient = serve(lambda body: (states.pop(0), [1.0]))
    assert score(Served(patient.url), prompts=["a"], completions=pictures(1)).values.tolist() == [1.0]
    assert len(patient.bodies) == 3
    broken = serve(lambda body: (500, "out of\nmemory"))
    with pytest.raises(RewardError, match=r"refuses \(500\): out of memory$"):
        score(Served(broken.url, tries=2), prompts=["a"], completions=pictures(1))
    assert len(broken.bodies) == 2
    strict = serve(lambda body: (422, {"detail": "no field image"}))
    with pytest.raises(RewardError, match=r"refuses \(422\): .*no field image"):
        score(Served(strict.url), prompts=["a"], completions=pictures(1))
    assert len(strict.bodies) == 1


@pytest.mark.parametrize(("answer", "says"), [
    ({"scores": [1.0]}, "1 values, but one number .or null. for each of 2 samples is wanted"), ({"error": "no such model"}, "error: no such model"), ("<html>", "something else than JSON"),
    ({"scores": ["good", 1.0]}, "'good' where a number"), ({"verdicts": [1, 2]}, "option field says"), ([True, 1], "True where a number"),
    ([float("nan"), 1.0], "returned nan for sample 0"),
])  # fmt: skip
def test_an_answer_that_is_no_numbers_is_one_line(answer: Any, says: str, serve: Any) -> None:
    server = serve(lambda body: answer)
    with pytest.raises(RewardError, match=says) as caught:
        score(Served(server.url), prompts=["a", "b"], completions=pictures(2))
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_and_columns_that_are_not_are_one_line() -> None:
    with pytest.raises(RewardError, match=r"http://127\.0\.0\.1:9/x does not answer: .*refused"):
        score(Served("http://127.0.0.1:9/x", tries=2), prompts=["a"], completions=pictures(1))
    with pytest.raises(RewardError, match="to be sent the column 'tag', but the data have only"):
        score(Served("http://127.0.0.1:9", columns=["tag"]), prompts=["a"], completions=pictures(1))
    with pytest.raises(RewardError, match="which the column 'tag' is not"):
        score(
            Served("http://127.0.0.1:9", columns=["tag"]),
            prompts=["a"],
            completions=pictures(1),
            tag=[torch.ones(1)],
        )
    with pytest.raises(ConfigError, match="wants a URL"):
        Served("localhost:8000")
