"""What cannot be written, or must not be, is refused before any work is done for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from footwork.cli import main
from footwork.errors import ConfigError, DataError
from footwork.files.outputs import require_makeable, require_writable


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "hits.txt"], 2, "ending of hits.txt must be one of .csv, .tsv, .jsonl, .parquet"),
        (["-o", "{tmp}/no/hits.csv"], 1, "no/hits.csv: no such folder. Name a file in a folder"),
        (["--html", "{tmp}/no/found.html"], 1, "no/found.html: no such folder. Name a file in"),
        (["--html", "{tmp}"], 1, ": it is a folder. Name a file in a folder"),
        (["--copy-to", "{tmp}/file/found"], 1, "file is a file. Name a folder that you may write"),
    ],
)
def test_a_query_is_refused_before_an_index_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    (tmp_path / "file").touch()
    outputs = [word.format(tmp=tmp_path) for word in words]
    assert main(["search", "query", "a dog", "--index", str(tmp_path / "none"), *outputs]) == code
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_of_the_user_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, page, pipe = (tmp_path / name for name in ("photo.jpeg", "page.html", "pipe.csv"))
    photo.write_bytes(b"a photo")
    page.write_text("<html>mine</html>")
    os.mkfifo(pipe)
    query = ["search", "query", "a dog", "--index", str(tmp_path / "none")]
    for words, message in (
        ([*query, "--html", str(photo)], "photo.jpeg is not replaced: this command has not"),
        ([*query, "--html", str(tmp_path / "new.jpeg")], "ending of new.jpeg must be .html or"),
        ([*query, "--html", str(page)], "page.html is not replaced"),
        ([*query, "-o", str(pipe)], "pipe.csv: it is no file but a pipe or a device"),
        (["search", "duplicates", "--html", str(page)], "page.html is not replaced"),
        (["search", "duplicates", "--html", "no/page.html"], "no/page.html: no such folder"),
    ):
        assert main(words) != 0
        assert message in capsys.readouterr().err
    assert photo.read_bytes() == b"a photo"
    assert page.read_text() == "<html>mine</html>"
    assert pipe.is_fifo()


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    table, folder = tmp_path / "q.csv", tmp_path / "model"
    table.write_text("id,label\n")
    folder.mkdir()
    (tmp_path / "hard.csv").hardlink_to(table)
    (tmp_path / "soft.csv").symlink_to(table)
    for path in (table, tmp_path / "hard.csv", tmp_path / "soft.csv", folder / "new.csv"):
        with pytest.raises(ConfigError, match=r"is what is read, or lies in it: .* Name another"):
            require_writable(path, lambda _: True, [table, folder])
    require_writable(tmp_path / "new.csv", lambda _: False, [table, folder, "owner/name", "-"])


def test_what_can_be_written_or_made_is_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").touch()
    for file in (None, tmp_path / "there.csv", Path("new.csv")):
        require_writable(file, lambda _: False)
    for folder in (None, tmp_path, tmp_path / "deep" / "down", Path("found")):
        require_makeable(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


def test_a_folder_that_may_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataError, match=r"Cannot write .*/a\.csv: permission denied\. Name"):
        require_writable(tmp_path / "a.csv", lambda _: True)
    with pytest.raises(DataError, match=r"Cannot put files into .*/b: permission denied\. Name"):
        require_makeable(tmp_path / "b")
