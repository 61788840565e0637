"""Why a part of a model cannot be loaded, and what to do about it."""

from __future__ import annotations

import re
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer

from footwork.errors import error_text
from footwork.files.plain_files import read_document, read_object
from footwork.models.downloads import damaged_file
from footwork.models.hub import page_of, repository_of

_NO_TOKENIZER = (
    "it has no tokenizer (tokenizer.json, vocab.txt, spm.model or the like). Take a model that "
    "has one, or a local folder to which you have added it."
)
_VOCABULARIES = ("vocab.txt", "vocab.json", "spm.model", "spiece.model", "sentencepiece.bpe.model")
_NO_PROCESSOR = (
    "it has no preprocessor_config.json, so nothing says how its images are prepared. Take a model "
    "that has one, or a local folder to which you have added it."
)
_OWN_CODE = (
    "its configuration asks for code of its own (`auto_map`), and Footwork runs no code that comes "
    "with a model. Take a model that transformers knows."
)
_NO_TYPE = (
    "its config.json names no `model_type`, so nothing tells what kind of model it is. Take "
    "another model; or, where you know the kind, a local folder with a config.json to which you "
    'have added it ("model_type": "bert").'
)
_PICKLED_CODE = (
    "its weights are a pickle that holds more than weights, or is broken, and Footwork runs no "
    "code that comes with a model. Take a model with model.safetensors."
)
_NO_PROCESSOR_CLASS = (
    "its preprocessor_config.json names no image processor that transformers knows. Take another "
    "model, or a local folder in which you have put it right."
)
_LONGEST_REASON = 400  # characters; some of transformers' messages list all that it knows
_LONGEST_POINTER = 1024  # bytes, by its specification
_PACKAGE = re.compile(r"requires the (\S+) library|need to install (\S+) to|pip install ([\w-]+)")
_NO_CLASS = re.compile(r"Unrecognized configuration class .*\.(\w+)Config'> .*?: (AutoModel\w*)\.")


def known_reason(error: Exception, auto_class: Any, folder: Path) -> str:
    """Why a part cannot be loaded, and what to do: transformers' words where they are right."""
    text = error_text(error)
    if isinstance(error, ImportError):
        # The packages are what the user is to install; before them stands a class.
        packages = {"".join(found).lower().strip("`") for found in _PACKAGE.findall(text)}
        needed = f"Install it: pip install {' '.join(sorted(packages))}" if packages else f"{text}."
        return f"it needs a package that is not installed. {needed}"
    if found := re.search("model type `(.+?)` but Transformers", text):
        return (
            f"its model type, {found[1]}, is unknown to transformers {transformers.__version__}. "
            "If a later version knows it: pip install --upgrade transformers"
        )
    if found := _NO_CLASS.search(text):
        return f"it is a {found[1]}, of which transformers has no {found[2]}. Take another model."
    names = {path.name for path in folder.iterdir()}
    unprepared = not names & {"preprocessor_config.json", "processor_config.json"}
    for known, lacking in (
        ("Weights only load failed" in text or "weights_only" in text, _PICKLED_CODE),
        (auto_class is AutoTokenizer and "backend tokenizer" in text, tokenizer_reason(folder)),
        (unprepared and "processor" in text, _NO_PROCESSOR),
        ("Unrecognized image processor" in text, _NO_PROCESSOR_CLASS),
        ("trust_remote_code" in text, _OWN_CODE),
        ("Should have a `model_type` key" in text, _NO_TYPE),
    ):
        if known:
            return lacking
    text = _broken_file(folder) or textwrap.shorten(text, _LONGEST_REASON, placeholder=" …")
    advice, repository = "Check its files.", repository_of(folder)
    if repository is not None and (damaged := damaged_file(folder)):
        advice = (
            f"{damaged} is not what the Hub announced: delete {folder.parents[1]} to download it "
            "again."
        )
    elif repository is not None:
        advice = f"That is how {page_of(repository)} has it: take another model or revision."
    return f"{text}. {advice}"


def tokenizer_reason(folder: Path) -> str:
    """Why a model has no tokenizer that can be used."""
    vocabulary = next((name for name in _VOCABULARIES if (folder / name).exists()), None)
    name = None
    with suppress(OSError, ValueError):
        name = read_object(folder / "tokenizer_config.json").get("tokenizer_class")
    if name is None or vocabulary is None:
        return _NO_TOKENIZER
    return (
        f"its tokenizer_config.json names a class, {name}, with which transformers "
        f"{transformers.__version__} makes no tokenizer of its {vocabulary}. Take another model."
    )


_READ_JSON = re.compile(r"(\w+_)?config\.json|tokenizer\.json|vocab\.json|.*\.index\.json")


def _broken_file(folder: Path) -> str | None:
    """Which file of a model is not of the kind that its name says, and why; a clause."""
    for path in sorted(folder.iterdir()):
        try:
            if _READ_JSON.fullmatch(path.name):
                read_document(path)
            elif path.suffix == ".safetensors":
                with safe_open(path, "np"):
                    pass
        except (OSError, ValueError, SafetensorError) as error:
            return f"its {path.name} cannot be read ({error_text(error).rstrip('.')})"
    return None


def pointer_reason(folder: Path) -> str | None:
    """Why a model cannot be loaded that was copied without git-lfs, and what to do."""
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.stat().st_size > _LONGEST_POINTER:
            continue
        if path.read_bytes().startswith(b"version https://git-lfs.github.com/spec/"):
            hint = f"In {folder}: git lfs pull. Or download it: hf download OWNER/NAME"
            maker = "whoever copied it had no git-lfs"
            if repository := repository_of(folder):
                maker = "whoever pushed it had no git-lfs"
                hint = (
                    "No download mends that: take another model or revision, or tell its owners at "
                    f"{page_of(repository)}/discussions"
                )
            return (
                f"its {path.name} is not the file itself but a pointer of Git LFS to it "
                f"({path.stat().st_size} bytes): {maker}. {hint}."
            )
    return None
