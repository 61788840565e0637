"""Image files are found where a user would look for them, each once, in an order to rely on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from footwork.errors import DataError
from footwork.images import finding
from footwork.images.finding import IMAGE_ENDINGS, FoundImages, find_images, listed_paths


def plant(root: Path, *names: str) -> None:
    """Empty files: what they hold does not matter here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found_names(root: Path, *sources: str | Path) -> list[str]:
    paths = find_images([root / source for source in sources] or [root]).paths
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_gives_its_files_then_its_folders_sorted_as_people_count(tmp_path: Path) -> None:
    expected = ["B.png", "img2.jpg", "img10.jpg", "a/1.gif", "a/z/1.gif", "b2/x.jpg", "b10/x.jpg"]
    plant(tmp_path, *reversed(expected), "notes.txt", "jpg", "clip.mp4")
    assert found_names(tmp_path) == expected


def test_a_name_of_any_length_is_sorted_by_its_numbers() -> None:
    names = [f"a{'2' * 5000}", "a10", f"a{'1' * 5000}", "a9"]
    assert sorted(names, key=finding.natural_key) == [names[3], names[1], names[2], names[0]]


def test_sources_keep_their_order(tmp_path: Path) -> None:
    plant(tmp_path, "b/1.jpg", "a/2.jpg", "0.jpg")
    assert found_names(tmp_path, "b", "0.jpg", "a") == ["b/1.jpg", "0.jpg", "a/2.jpg"]


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_the_case_of_an_ending_does_not_matter(tmp_path: Path, ending: str) -> None:
    plant(tmp_path, f"a{ending}", f"b{ending.upper()}", f"c{ending.title()}", f"d{ending}.part")
    assert len(find_images([tmp_path]).paths) == 3


def test_names_of_any_script_and_of_no_encoding_are_found(tmp_path: Path) -> None:
    plant(tmp_path, "鳥鳥.png", "cafe\u0301.jpg", "an x .jpg", "²3.jpg")
    odd = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    try:
        Path(os.fsdecode(odd)).touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    paths = find_images([tmp_path]).paths
    assert len(paths) == 5
    assert odd in [os.fsencode(path) for path in paths]
    assert find_images([f"{tmp_path}/caf*.jpg"]).paths == (paths[1], paths[2])


def test_hidden_things_and_copies_made_by_machines_are_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", ".b.jpg", "._a.jpg", ".hidden/c.jpg", "deep/.d/e.jpg")
    plant(tmp_path, "__MACOSX/a.jpg", "@eaDir/a.jpg", "deep/#recycle/a.jpg")
    assert found_names(tmp_path) == ["a.jpg"]


def test_hidden_things_that_are_named_are_taken(tmp_path: Path) -> None:
    plant(tmp_path, ".b.jpg", ".hidden/c.jpg", ".hidden/.d.jpg", "@eaDir/a.jpg")
    named = (".b.jpg", ".hidden", "@eaDir")
    assert found_names(tmp_path, *named) == [".b.jpg", ".hidden/c.jpg", "@eaDir/a.jpg"]
    assert found_names(tmp_path, ".*/*.jpg") == [".hidden/c.jpg"]


def test_links_are_followed_and_their_loops_end(tmp_path: Path) -> None:
    plant(tmp_path, "in/zeta/1.jpg", "in/zeta/deep/2.jpg", "out/3.jpg")
    (tmp_path / "in/zeta/deep/loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in/alpha").symlink_to("zeta", target_is_directory=True)
    (tmp_path / "in/away").symlink_to(tmp_path / "out", target_is_directory=True)
    expected = ["in/zeta/1.jpg", "in/zeta/deep/2.jpg", "in/away/3.jpg"]
    assert found_names(tmp_path, "in") == expected
    assert found_names(tmp_path, "in/**/*.jpg") == expected


def test_a_link_to_nowhere_is_kept_for_decoding_to_say_so(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    assert found_names(tmp_path) == ["gone.jpg", "self.jpg"]


def test_an_image_is_found_once_whatever_leads_to_it(tmp_path: Path) -> None:
    plant(tmp_path, "a/1.jpg", "a/b/2.jpg")
    (tmp_path / "link").symlink_to("a", target_is_directory=True)
    sources = ("a/1.jpg", "a/b/../1.jpg", "a", "link", "a/**/*.jpg", "link/1.jpg", "a/1.jpg")
    assert found_names(tmp_path, *sources) == ["a/1.jpg", "a/b/2.jpg"]


def test_a_named_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    plant(tmp_path, "scan", "scan.dat", "b.jpg")
    assert found_names(tmp_path, "scan", "scan.dat") == ["scan", "scan.dat"]
    assert found_names(tmp_path, "*") == ["b.jpg"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["1.jpg", "2.JPG"]),
        ("**/*.jpg", ["1.jpg", "2.JPG", "a/3.jpg", "a/x/4.jpg", "b/5.jpg"]),
        ("**/x/*", ["a/x/4.jpg"]),
        ("*/x", ["a/x/4.jpg"]),
        ("**", ["1.jpg", "2.JPG", "a/3.jpg", "a/x/4.jpg", "b/5.jpg", "b/6.png"]),
        ("[ab]/?.*", ["a/3.jpg", "b/5.jpg", "b/6.png"]),
        ("*/**/x/../3.jpg", ["a/3.jpg"]),
    ],
)
def test_a_pattern_that_no_shell_expanded_is_expanded(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    plant(tmp_path, "1.jpg", "2.JPG", "a/3.jpg", "a/x/4.jpg", "b/5.jpg", "b/6.png", "b/7.txt")
    paths = find_images([f"{tmp_path}/{pattern}"]).paths
    assert [Path(os.path.normpath(path)) for path in paths] == [tmp_path / e for e in expected]


def test_a_pattern_is_looked_for_from_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "photos/1.jpg")
    monkeypatch.chdir(tmp_path)
    for source in (".", "*/*.jpg", "photos", "./photos/"):
        assert find_images([source]).paths == (Path("photos/1.jpg"),)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    plant(tmp_path, "photo[1].jpg", "photo1.jpg")
    assert found_names(tmp_path, "photo[1].jpg") == ["photo[1].jpg"]


def test_a_list_holds_one_path_a_line() -> None:
    content = "\ufeffa b.jpg\n\n  \n c.jpg \r\nd.jpg".encode()
    assert list(listed_paths(content)) == ["a b.jpg", " c.jpg ", "d.jpg"]


def test_a_list_may_end_each_path_by_nul() -> None:
    assert list(listed_paths(b"a\nb.jpg\0c\xff.jpg\0\0")) == ["a\nb.jpg", "c\udcff.jpg"]


def test_what_a_list_names_and_is_not_there_is_left_to_who_decodes_it(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "x1.jpg", "b/c.jpg")
    listed = [str(tmp_path / name) for name in ("a.jpg", "no.jpg", "x[1].jpg", "b", "n" * 300)]
    found = find_images(listed, listed=set(listed))
    names = [path.name for path in found.paths]
    assert names == ["a.jpg", "no.jpg", "x[1].jpg", "c.jpg", "n" * 300]
    with pytest.raises(DataError, match=r"Cannot find .*no\.jpg"):
        find_images(listed, listed={listed[2]})


def test_a_folder_that_cannot_be_read_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "a.jpg", "private/b.jpg", "z/c.jpg")
    scandir = os.scandir

    def guarded(folder: Path) -> object:
        if folder.name == "private":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)  # root may read every folder
    note = f"Cannot read {tmp_path / 'private'}: permission denied; its images are left out."
    for source in (tmp_path, f"{tmp_path}/**/*.jpg"):
        found = find_images([source])
        paths = (tmp_path / "a.jpg", tmp_path / "z/c.jpg")
        assert found == FoundImages(paths, (note,), unlisted=(tmp_path / "private",))
    with pytest.raises(DataError, match=r"No image in .*private\. Supported: .* Cannot read"):
        find_images([tmp_path / "private"])


def test_kinds_that_are_not_read_are_counted_in_one_line(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "a.CR2", "b/b.cr2", "b/c.mov", "b/c.aae", "b/d.txt", ".e.mov")
    plant(tmp_path, "f.pdf/g.jpg")
    assert find_images([f"{tmp_path}/**/*"]).unread == {".cr2": 2, ".mov": 1}
    found = find_images([tmp_path])
    assert found.unread == {".cr2": 2, ".mov": 1}
    assert found.remarks == ("3 files of kinds that are not read: 2 .cr2, 1 .mov.",)
    with pytest.raises(DataError, match=r"kinds that are not read: 2 \.cr2, 1 \.mov"):
        find_images([tmp_path], lambda path, _: path.endswith(".jpg"))
    rest = find_images([tmp_path], lambda path, _: path.lower().endswith((".mov", ".cr2")))
    assert rest.remarks == ()
    assert not set(IMAGE_ENDINGS) & finding.UNREAD_ENDINGS


def test_a_source_without_an_image_is_noted_beside_others(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "empty/notes.txt")
    found = find_images([tmp_path / "empty", tmp_path / "a.jpg"])
    assert found.notes == (f"No image in {tmp_path / 'empty'}.",)


def test_no_image_at_all_is_an_error_that_lists_the_endings(tmp_path: Path) -> None:
    plant(tmp_path, "holiday/notes.txt", "holiday/jpg")
    with pytest.raises(DataError, match=r"No image in .*holiday\. Supported: \.jpg, \.jpeg, "):
        find_images([tmp_path / "holiday"])
    with pytest.raises(DataError, match=r"No image in .*\*\.txt\. Supported: "):
        find_images([tmp_path / "holiday/*.txt"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.jpg", r"Cannot find '.*nowhere\.jpg': no such file or directory\. Name folders"),
        ("a.jpg/b.jpg", r"Cannot find '.*b\.jpg': not a directory"),
        ("a\0b.jpg", "Cannot find .*: no file can have such a name"),
        ("a\ud800b.jpg", "Cannot find .*: no file can have such a name"),
        ("nowhere/*.jpg", r"No file matches '.*/nowhere/\*\.jpg'"),
        ("*.png", r"No file matches '.*/\*\.png'\. Name folders"),
    ],
)
def test_a_source_that_does_not_exist_is_named(tmp_path: Path, source: str, message: str) -> None:
    plant(tmp_path, "a.jpg")
    with pytest.raises(DataError, match=message):
        find_images([tmp_path / "a.jpg", f"{tmp_path}/{source}"])


def test_no_source_is_no_folder() -> None:
    with pytest.raises(DataError, match="No images are named"):
        find_images([])
    with pytest.raises(DataError, match="Cannot find '': it is empty"):
        find_images([""])
    with pytest.raises(TypeError, match="must be several"):
        find_images("photos")
