"""Labels as users write them."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from footwork.class_names import (
    checked_class_names,
    read_class_names,
    read_labels_file,
    split_labels,
)
from footwork.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat,dog", ("cat", "dog")),
        (" cat , hot dog ", ("cat", "hot dog")),
        ("007,NA,None,null,1.0", ("007", "NA", "None", "null", "1.0")),
        ('"red, white", blue', ("red, white", "blue")),
        ('"say ""cheese""",b', ('say "cheese"', "b")),
        ('5" pipe,b', ('5" pipe', "b")),
        ("katze,собака,猫", ("katze", "собака", "猫")),
        ("Cat,cat", ("Cat", "cat")),
        ("one", ("one",)),
        ("cafe\u0301,the\u0301\u00a0vert,a\u200bb\ufeff", ("caf\u00e9", "th\u00e9 vert", "ab")),
        ("\u0645\u06cc\u200c\u062e", ("\u0645\u06cc\u200c\u062e",)),
        ("\U0001f468\u200d\U0001f467", ("\U0001f468\u200d\U0001f467",)),
    ],
)
def test_labels_are_kept_as_they_are_written(text: str, labels: tuple[str, ...]) -> None:
    assert split_labels(text) == labels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no labels"),
        (",", "Label 1 is empty"),
        ("a,,b", "Label 2 is empty"),
        ("a,b,", "Label 3 is empty"),
        ("a, b,a", "'a' stands twice: label 1 and label 3"),
        ("\u00e9,e\u0301", "stands twice: label 1 and label 2"),
        ('a,"b', "a quote that opens a label must close it"),
        ("a,b\nc", "Cannot read the labels|cannot be printed"),
        ("a,b\tc", "Label 2 holds a character that cannot be printed"),
    ],
)
def test_labels_that_cannot_be_used_are_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        split_labels(text)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_file_holds_one_a_line_and_quotes_nothing(tmp_path: Path, ending: str) -> None:
    lines = ["\ufeffcat", '"a, b"', "", "# a comment", r"\#1", " None "]
    path = tmp_path / "labels.txt"
    path.write_bytes(ending.join(lines).encode())
    assert read_labels_file(path) == ("cat", '"a, b"', "#1", "None")


def test_a_label_that_stands_twice_in_a_file_is_named_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\n\ndog\ncat \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'cat' stands twice: .*line 1 and .*line 4"):
        read_labels_file(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read .*absent\.txt: No such file"):
        read_labels_file(tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_bytes(b"\xef\xbb\xbf\r\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_labels_file(tmp_path / "empty.txt")


def test_labels_come_from_exactly_one_place(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\n", encoding="utf-8")
    assert read_class_names("cat", None) == read_class_names(None, path) == ("cat",)
    with pytest.raises(ConfigError, match="exclude each other"):
        read_class_names("cat", path)
    with pytest.raises(ConfigError, match="both missing"):
        read_class_names(None, None)


def test_ten_thousand_labels_are_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(f"thing {n}" for n in range(10_000)), encoding="utf-8")
    assert len(read_labels_file(path)) == 10_000


def test_a_caller_is_told_what_labels_are() -> None:
    assert checked_class_names(["cat ", "dog"]) == ("cat", "dog")
    assert checked_class_names(name for name in ("cat", "dog")) == ("cat", "dog")
    for wrong in ("cat", None, {"cat": ["a cat"]}, pandas.DataFrame({"cat": ["a"]})):
        with pytest.raises(TypeError, match=f"list of texts, got {type(wrong).__name__}. Put one"):
            checked_class_names(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be texts, got 7"):
        checked_class_names(["cat", 7])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="no labels"):
        checked_class_names([])
