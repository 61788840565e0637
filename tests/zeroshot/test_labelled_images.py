"""Images whose class is known, from folders and tables."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pandas
import pytest

from footwork.errors import DataError
from footwork.tables.writer import write_rows
from tests.zeroshot.stand_in import StandInEncoder
from zeroshot.labelled_images import (
    LabelledImages,
    embed_labelled_images,
    read_examples,
    read_labelled_images,
)

FILES = ["cat/1.jpg", "cat/2.JPG", "cat/deep/3.png", "fire_truck/1.webp"]
ROWS = [{"path": name, "label": name.split("/")[0]} for name in FILES]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def pairs(images: LabelledImages) -> set[tuple[str, str]]:
    names = (images.class_names[target] for target in images.targets)
    return {(path.name, name) for path, name in zip(images.paths, names, strict=True)}


def table(folder: Path, text: str, name: str = "table.csv") -> LabelledImages:
    (folder / name).write_text(text, encoding="utf-8")
    return read_labelled_images(folder / name)


def test_a_sub_folder_is_a_class(tmp_path: Path) -> None:
    images = read_labelled_images(touch(tmp_path / "all", *FILES))
    assert images.class_names == ("cat", "fire_truck")
    assert len(images.paths) == 4
    assert pairs(images) >= {("3.png", "cat"), ("1.webp", "fire_truck")}
    assert images.targets.tolist() == [0, 0, 0, 1]
    assert images.notes == images.skipped == ()


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_says_what_the_folder_says(tmp_path: Path, ending: str) -> None:
    folder = touch(tmp_path / "all", *FILES)
    write_rows(ROWS, folder / f"table{ending}")
    images, expected = read_labelled_images(folder / f"table{ending}"), read_labelled_images(folder)
    assert images.paths == expected.paths
    assert images.class_names == expected.class_names
    assert images.targets.tolist() == expected.targets.tolist()


def test_a_table_that_is_held_says_what_its_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touch(tmp_path, *FILES))
    write_rows(ROWS, tmp_path / "table.csv")
    read = read_labelled_images(tmp_path / "table.csv")
    for held in (ROWS, pandas.DataFrame([row | {"path": Path(row["path"])} for row in ROWS])):
        images = read_labelled_images(held)
        assert [path.resolve() for path in images.paths] == list(read.paths)
        assert (images.class_names, images.notes) == (read.class_names, read.notes)
        assert images.targets.tolist() == read.targets.tolist()
    spoilt = read_labelled_images([*ROWS, {"path": "cat/9.jpg"}, "no row"])
    assert [skipped.place[-5:] for skipped in spoilt.skipped] == ["row 6", "row 5"]


def test_classes_are_sorted_as_people_count(tmp_path: Path) -> None:
    folder = touch(tmp_path / "all", "grade 10/1.jpg", "grade 9/1.jpg", "A/1.jpg", "b/1.jpg")
    assert read_labelled_images(folder).class_names == ("A", "b", "grade 9", "grade 10")


def test_classes_that_are_codes_are_noted(tmp_path: Path) -> None:
    [note] = read_labelled_images(touch(tmp_path / "all", "0/1.jpg", "n01440764/1.jpg")).notes
    assert "say nothing to a model that reads: '0', 'n01440764'." in note


@pytest.mark.parametrize(
    "header", ["Image Path,Class", "file,category", "label_text,file_name", "picture,kind"]
)
def test_columns_are_known_by_name_or_by_what_they_hold(tmp_path: Path, header: str) -> None:
    cells = ["a.jpg,cat", "b.jpg,dog", "c.jpg,cat"]
    if header.startswith("label"):
        cells = [",".join(reversed(line.split(","))) for line in cells]
    images = table(tmp_path, "\n".join([header, *cells]))
    assert pairs(images) == {("a.jpg", "cat"), ("b.jpg", "dog"), ("c.jpg", "cat")}


def test_a_table_needs_no_header_and_takes_no_cell_for_missing(tmp_path: Path) -> None:
    images = table(tmp_path, "a.jpg,NA\nb.jpg,007\nc.jpg,NA\n")
    assert pairs(images) == {("a.jpg", "NA"), ("b.jpg", "007"), ("c.jpg", "NA")}


def test_paths_begin_at_the_table(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    images = table(inner, f"path,label\na.jpg,x\n{tmp_path}/b.jpg,y\n")
    assert images.paths == (inner / "a.jpg", tmp_path / "b.jpg")


def test_rows_that_cannot_be_used_are_listed_with_their_number(tmp_path: Path) -> None:
    text = "path,label\na.jpg,cat\n,dog\nb.jpg,\na.jpg,cat\na.jpg,dog\nc.jpg,dog,extra\nd.jpg,dog\n"
    images = table(tmp_path, text)
    assert pairs(images) == {("a.jpg", "cat"), ("d.jpg", "dog")}
    listed = {each.place.split(", ")[1]: each.reason for each in images.skipped}
    assert listed == {
        "row 3": "it names no image file",
        "row 4": "the label is empty",
        "row 6": "a.jpg has the label 'cat' already",
        "row 7": "it has 3 cells, expected 2",
    }
    assert "1 row repeats an image with its label: it counts once." in images.notes


def test_a_cell_that_cannot_be_read_costs_its_row_alone(tmp_path: Path) -> None:
    (closed := BytesIO()).close()
    cells = b"\xff1", b"\xff2", {"bytes": None, "path": "https://x/y.jpg"}, closed
    rows = [{"image": cell, "label": label} for cell, label in zip(cells, "abab", strict=True)]
    images = read_labelled_images(rows, tmp_path / "files")
    assert [path.name for path in images.paths] == ["row 1, column 1", "row 2, column 1"]
    address, of_closed = (each.reason for each in images.skipped)
    assert address.startswith("it is an address, and nothing is fetched")
    assert "closed file" in of_closed


def test_one_class_can_be_judged(tmp_path: Path) -> None:
    assert read_labelled_images(touch(tmp_path, "cat/1.jpg")).class_names == ("cat",)


def test_several_labels_in_a_cell_are_refused(tmp_path: Path) -> None:
    rows = [{"path": "a.jpg", "label": ["cat", "dog"]}, {"path": "b.jpg", "label": 3}]
    images = table(tmp_path, "\n".join(map(json.dumps, rows)), "rows.jsonl")
    assert pairs(images) == {("b.jpg", "3")}
    assert "several labels" in images.skipped[0].reason


def test_a_written_list_of_labels_is_refused(tmp_path: Path) -> None:
    images = table(tmp_path, "path,label\na.jpg,['cat' 'dog']\nb.jpg,[spam]\nc.jpg,['a' ... 'b']\n")
    assert pairs(images) == {("b.jpg", "spam")}  # beside lists that is one of one label
    several, broken = (each.reason for each in images.skipped)
    assert several == "it has several labels, ['cat', 'dog']; one is needed"
    assert broken.startswith("its label cannot be read as a list")


def test_class_names_that_look_the_same_are_one(tmp_path: Path) -> None:
    folder = touch(tmp_path / "all", "cafe\u0301/1.jpg", "tea/2.jpg")
    assert read_labelled_images(folder).class_names == ("caf\u00e9", "tea")
    text = "path,label\na.jpg,caf\u00e9\nb.jpg,cafe\u0301\u200b\nc.jpg,1\nd.jpg,1.0\n"
    images = table(tmp_path, text)
    assert images.class_names == ("1", "1.0", "caf\u00e9")
    assert images.notes[1] == (
        "Classes that differ only in case, spaces, dashes or how a value is written: '1', '1.0'."
    )
    if len(list(touch(folder, "caf\u00e9/3.jpg").iterdir())) == 3:  # not so where they are one file
        with pytest.raises(DataError, match=r"read the same\. Rename one"):
            read_labelled_images(folder)


def test_a_column_that_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds the images; it has 'one', 'label'.*`path`"):
        table(tmp_path, "one,label\nx,cat\ny,dog\n")
    with pytest.raises(DataError, match="holds the labels"):
        table(tmp_path, "path,one,two\na.jpg,1,2\nb.jpg,3,4\n")


def test_what_holds_no_labelled_image_is_told_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file or folder .*none"):
        read_labelled_images(tmp_path / "none")
    with pytest.raises(DataError, match="is one image"):
        read_labelled_images(touch(tmp_path, "1.jpg") / "1.jpg")
    with pytest.raises(DataError, match="names no image with a label: the label is empty"):
        table(tmp_path, "path,label\na.jpg,\nb.jpg,\n")


def test_files_of_kinds_that_are_not_read_are_counted_over_all_classes(tmp_path: Path) -> None:
    folder = touch(
        tmp_path / "all", "cat/1.jpg", "cat/2.cr2", "dog/1.jpg", "dog/3.cr2", "dog/v.mp4"
    )
    [note] = read_labelled_images(folder).notes
    assert note == "3 files of kinds that are not read: 2 .cr2, 1 .mp4."


def test_of_the_folder_above_the_splits_the_test_is_judged_and_the_train_taught(
    tmp_path: Path,
) -> None:
    folder = touch(tmp_path / "all", *(f"train/{name}/1.jpg" for name in ("cat", "dog", "eel")))
    touch(folder, "Test/cat/2.jpg", "Test/dog/3.jpg")
    judged, taught = read_labelled_images(folder), read_examples(folder)
    assert (judged.class_names, taught.class_names) == (("cat", "dog"), ("cat", "dog", "eel"))
    assert judged.notes[0] == f"Of {folder} the test split is used."
    assert taught.notes[0] == f"Of {folder} the train split is used."
    assert len(read_labelled_images(folder / "train").paths) == 3
    with pytest.raises(DataError, match="has no split train; it has 'Test'"):
        read_examples(touch(tmp_path / "other", "Test/cat/2.jpg"))


def test_a_collection_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    folder = touch(tmp_path / "all", "cat/broken.jpg", "dog/broken.jpg")
    with pytest.raises(DataError, match=r"None of the 2 images .*broken\.jpg: it ends too early"):
        embed_labelled_images(StandInEncoder(), read_labelled_images(folder))


def test_a_table_of_ours_names_what_a_spreadsheet_would_run(tmp_path: Path) -> None:
    for name in ("=1.png", "'-2.png", "3.png"):
        (tmp_path / name).touch()
    rows = [{"path": name, "label": "a"} for name in ("=1.png", "'-2.png", "3.png")]
    write_rows(rows, tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_text().splitlines()[1] == "'=1.png,a"
    found = read_labelled_images(tmp_path / "labels.csv")
    assert [path.name for path in found.paths] == ["=1.png", "'-2.png", "3.png"]
