"""Templates: by name, as they stand, from files, for single classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from footwork.errors import ConfigError
from footwork.prompts import templates
from footwork.prompts.templates import NAMED, SIGMOID_DEFAULT, Prompts, load_prompts


def written(folder: Path, text: str, name: str = "templates.txt") -> str:
    path = folder / name
    path.write_bytes(text.encode())
    return str(path)


def test_every_shipped_template_has_one_slot_and_stands_once() -> None:
    sizes = {name: len(shipped) for name, shipped in NAMED.items()}
    assert sizes == {"imagenet": 80, "short": 7}
    assert set(NAMED["short"]) < set(NAMED["imagenet"])
    for shipped in (*NAMED.values(), templates.DEFAULT, SIGMOID_DEFAULT):
        assert all(template.count("{}") == 1 for template in shipped)
        assert len(set(shipped)) == len(shipped)


def test_nothing_stated_takes_the_models_default() -> None:
    assert templates.load_templates(None) == templates.DEFAULT
    assert templates.load_templates(None, SIGMOID_DEFAULT) == SIGMOID_DEFAULT
    assert templates.load_templates("short") == NAMED["short"]


def test_a_template_may_be_stated_as_it_is() -> None:
    assert templates.load_templates("a satellite photo of {}.") == ("a satellite photo of {}.",)
    assert templates.load_templates("{}") == ("{}",)
    longer_than_a_name = f"a photo of a {{}}, {'x' * 255}"
    assert templates.load_templates(longer_than_a_name) == (longer_than_a_name,)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_file_holds_one_a_line_whatever_ends_its_lines(tmp_path: Path, ending: str) -> None:
    lines = ["\ufeffa photo of a {}.", "", "  {}  ", "# a comment {}", r"\# {} and {x}", ""]
    expected = ("a photo of a {}.", "{}", "# {} and {x}")
    assert templates.load_templates(written(tmp_path, ending.join(lines))) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [("a photo of a cat.", "has none"), ("a {} and a {}.", "has 2"), ("a photo of a {c}.", "none")],
)
def test_a_template_without_one_slot_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, f"a {{}}.\n\n{line}\n")
    with pytest.raises(ConfigError, match=rf"templates\.txt, line 3: .*{said}"):
        templates.load_templates(path)


def test_a_repeated_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 2 repeats .*line 1"):
        templates.load_templates(written(tmp_path, "a {}.\na {}.\n"))


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no templates 'imagnet'\. Give imagenet, short"):
        templates.load_templates("imagnet")
    with pytest.raises(ConfigError, match="is empty"):
        templates.load_templates(written(tmp_path, "\n \n"))
    with pytest.raises(ConfigError, match=r"Cannot read .*directory"):
        templates.load_templates(str(tmp_path))
    (tmp_path / "latin").write_bytes("a {}\nein Stück {}\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"not UTF-8 \(line 2\)"):
        templates.load_templates(str(tmp_path / "latin"))
    (tmp_path / "wide").write_bytes("a {}\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="is UTF-16"):
        templates.load_templates(str(tmp_path / "wide"))


def test_a_label_with_braces_is_taken_as_it_stands() -> None:
    prompts = Prompts(("a photo of a {}.",))
    assert prompts.of("set {1} {x}") == ("a photo of a set {1} {x}.",)


def test_the_order_of_templates_means_nothing() -> None:
    some = NAMED["short"]
    assert Prompts(some).of("cat") == Prompts(some[::-1]).of("cat")


def test_single_classes_may_have_prompts_of_their_own(tmp_path: Path) -> None:
    own = {"crane": ["a crane, a tall machine", "a {}, which lifts loads"]}
    path = written(tmp_path, json.dumps(own), "prompts.json")
    prompts = load_prompts(path, SIGMOID_DEFAULT)
    assert prompts.of("crane") == ("a crane, a tall machine", "a crane, which lifts loads")
    assert prompts.of("bird") == ("This is a photo of bird.",)
    assert prompts.among(["bird", "crane"]) == prompts
    with pytest.raises(ConfigError, match="name the class 'crane', which is none of the 2 labels"):
        prompts.among(["bird", "Crane"])


def test_a_class_may_be_called_as_it_is_spoken_or_typed_but_once(tmp_path: Path) -> None:
    own = {"cafe\u0301": ["a café"], "hot_dog": ["a sausage"]}
    prompts = load_prompts(written(tmp_path, json.dumps(own), "prompts.json"))
    assert prompts.among(["caf\u00e9", "hot dog"]).of("hot dog") == ("a sausage",)
    both = Prompts(templates.DEFAULT, {"hot_dog": ("a",), "hot dog": ("b",)})
    assert both.among(["hot_dog", "hot dog"]) == both
    with pytest.raises(ConfigError, match="'hot dog' twice, as 'hot_dog' and 'hot dog'"):
        both.among(["hot dog"])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("[1", "is not JSON"),
        ("[]", "must hold one object"),
        ("{}", "must hold one object"),
        ('{"cat": "a cat"}', "'cat' must have a list"),
        ('{"cat": []}', "'cat' must have a list"),
        ('{"cat": [" "]}', "'cat' must have a list"),
        ('{"cat": ["{} {}"]}', "at most one"),
        ('{"cat": ["a"], "cat": ["b"]}', "names a class twice"),
        ('{"cat": ["a"], "cat ": ["b"]}', "names a class twice"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(tmp_path: Path, document: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_prompts(written(tmp_path, document, "prompts.json"))
