"""What lies in a folder or in a repository of the hub, told by its files before anything is loaded."""

from pathlib import Path

MODEL, ADAPTER, PIPELINE, PICTURE_LORA = (
    "config.json", "adapter_config.json", "model_index.json", "pytorch_lora_weights.safetensors",
)  # fmt: skip
KINDS = (PIPELINE, PICTURE_LORA, ADAPTER, MODEL)


def kind_of(source: str | Path) -> str | None:
    """The first of `KINDS` that a folder or repository holds; None where there is none, or the hub can't be asked."""
    if Path(source).exists():
        return next((f for f in KINDS if (Path(source) / f).is_file()), None)
    found = _on_hub(str(source)) if is_hub_name(source) else set()
    return next((f for f in KINDS if f in found), None)


def is_hub_name(source: str | Path) -> bool:
    """Whether something that is no folder here may be the name of a repository."""
    path = Path(source)
    return (
        not path.is_absolute()
        and not str(source).startswith((".", "~"))
        and len(path.parts) <= 2
        and path.suffix != ".gguf"
    )


def folder_of(source: str | Path) -> Path:
    """A folder itself, or that of a repository, all of whose files are here then."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(source)))


def _on_hub(name: str) -> set[str]:
    from huggingface_hub import list_repo_files, try_to_load_from_cache

    cached = {f for f in KINDS if isinstance(try_to_load_from_cache(name, f), str)}
    if cached:
        return cached
    try:
        return set(list_repo_files(name))
    except Exception:  # whatever keeps the hub from answering, loading will say
        return set()
