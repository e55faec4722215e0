"""A model card beside every saved model."""

from pathlib import Path

from accord.engine.run import versions, write_text


def write_card(folder: Path, base: str, aspects: tuple[str, ...] = ()) -> None:
    """README.md of a reward model: what it is, what it was made from, how to call it."""
    outputs = (
        f"one output for each of {', '.join(aspects)}"
        if aspects
        else "one scalar, on the Bradley-Terry (log-odds) scale"
    )
    made = ", ".join(f"{k} {v}" for k, v in versions().items())
    write_text(
        folder / "README.md",
        f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, accord]
---

# Reward model

Trained with accord from `{base}`; {outputs}, read at the last token of prompt + completion + end token.

```python
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained("<this folder>")
```

{made}
""",
    )
