"""The built wheel in an environment of its own, with what it asks for and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.dual_encoders import build_dual_encoder, draw_image
from tests.hub import Hub
from tests.models import FREQUENT, build_base

ROOT = Path(__file__).parents[1]
PACKAGES = ("footwork", "search", "textclf", "zeroshot")
COMMANDS = """
import sys
from footwork.cli import main
for line in sys.stdin.read().splitlines():
    print("$ footwork", line, flush=True)
    code = main(line.split("|"))
    print("exit code", code, flush=True)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an empty environment into which the wheel was installed, without extras.

    What the wheel asks for is not fetched, but linked from where the tests run.
    """
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    built = [sys.executable, "-W", "ignore", "-c", build, str(place)]
    subprocess.run(built, cwd=source, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "env")], check=True)
    packages = next((place / "env" / "lib").glob("python*/site-packages"))
    with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
        wheel.extractall(packages)
    wheel_itself = PathDistribution(next(packages.glob("footwork-*.dist-info")))
    for name in _needed(wheel_itself.requires or []):
        found = distribution(name)
        tops = {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            place_of_top = Path(str(found.locate_file(top)))
            if place_of_top.exists() and not (packages / top).exists():
                (packages / top).symlink_to(place_of_top)
    return place / "env" / "bin" / "python"


def _needed(requirements: list[str]) -> Iterator[str]:
    """The names of all packages that are asked for, and that those ask for."""
    seen: set[tuple[str, str]] = set()
    waiting = [(line, "") for line in requirements]
    while waiting:
        line, extra = waiting.pop()
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in {"", *requirement.extras} - {extra for n, extra in seen if n == name}:
            seen.add((name, wanted))
            waiting.extend((one, wanted) for one in distribution(name).requires or [])
    yield from sorted({name for name, _ in seen})


def lay_out_deberta(folder: Path) -> Path:
    """As microsoft has it: no tokenizer.json, and half-precision weights in the old format."""
    import sentencepiece
    import torch
    from safetensors.torch import load_file

    build_base(folder, "deberta-v2")
    weights = load_file(folder / "model.safetensors")
    states = {f"deberta.{name}": tensor.half() for name, tensor in weights.items()}
    states["lm_predictions.lm_head.bias"] = torch.zeros(len(weights), dtype=torch.float16)
    torch.save(states, folder / "pytorch_model.bin")
    for path in (folder / "model.safetensors", *folder.glob("*token*")):
        path.unlink()
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([FREQUENT] * 20),
        model_prefix=str(folder / "spm"),
        vocab_size=90,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        minloglevel=2,
    )
    return folder


def lay_out_clip(folder: Path) -> Path:
    """As openai has it: weights in the old format alone."""
    import torch
    from safetensors.torch import load_file

    build_dual_encoder(folder, "clip")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_the_commands_of_the_readme_run_after_a_plain_install(
    python: Path, hub: Hub, tmp_path: Path
) -> None:
    hub.add("microsoft/deberta-v3-base", lay_out_deberta(tmp_path / "deberta"))
    hub.add("openai/clip-vit-base-patch32", lay_out_clip(tmp_path / "clip"))
    rows = [
        f"{word} {thing},{label}"
        for thing in ("film", "book", "food", "movie", "service")
        for word, label in (("good", "yes"), ("bad", "no"), ("best", "yes"), ("worst", "no"))
    ]
    table = "\n".join(["text,label", *rows, ""])
    (tmp_path / "reviews.csv").write_text(table)
    for colour in ("red", "blue"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        draw_image(tmp_path / "photos" / f"{colour}.png")
    commands = (
        "textclf|audit|reviews.csv",
        "textclf|train|reviews.csv|out|--method|lora|--max-steps|1|--max-length|16",
        "textclf|evaluate|out|reviews.csv",
        "textclf|predict|out|reviews.csv|-o|predictions.csv",
        "textclf|merge|out|plain",
        "zeroshot|label|photos|--labels|a cat,a dog|-o|labels.csv",
    )
    variables = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "MPLBACKEND")}
    run = subprocess.run(
        [python, "-c", COMMANDS],
        cwd=tmp_path,
        env=variables | hub.environment(tmp_path / "home") | {"FOOTWORK_HOME": str(tmp_path / "f")},
        input="\n".join(commands),
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{run.stdout}\n{run.stderr}"
    assert run.stdout.count("\nexit code 0") == len(commands), said
    assert "those of `tiny`" not in said
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == len(rows) + 1
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 3
    adapter = (tmp_path / "out" / "adapter_config.json").read_text()
    assert '"base_model_name_or_path": "microsoft/deberta-v3-base"' in adapter
    published = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert not [path for path in published if str(tmp_path / "home").encode() in path.read_bytes()]


def test_no_extra_is_in_the_way(python: Path) -> None:
    """What the first test proves rests on their absence."""
    script = "import sys, importlib.util as u; print([u.find_spec(n) for n in sys.argv[1:]])"
    names = ("matplotlib", "pymilvus", "pillow_heif", "pytest", "ruff")
    run = [python, "-c", script, *names]
    assert subprocess.check_output(run, text=True).strip() == str([None] * len(names))


def test_templates_and_all_other_data_files_are_in_it(python: Path) -> None:
    installed = next((python.parents[1] / "lib").glob("python*/site-packages"))
    data = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert Path("footwork/pages/page.css") in data
    assert not [path for path in data if not (installed / path).is_file()]
    script = "from footwork.pages.templates import load_template as t; print(t(sys.argv[1]).name)"
    name = "search/answers/contact_sheet.html"
    run = [python, "-c", f"import sys; {script}", name]
    assert subprocess.check_output(run, text=True).strip() == name
