"""An index from Python: asked by whatever is at hand, vectors in and out, frames, manners."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from footwork.encoder.dual import DualEncoder
from footwork.errors import ConfigError, DataError, FootworkError, StoreError
from footwork.images.decoding import decode_image
from footwork.models.hub import TINY_CLIP
from footwork.options import EncoderConfig
from search import Answer, Filter, ImageIndex, QueryOptions
from search.answers.answer import COLUMNS, Answers
from search.place import IndexFolder
from search.store.protocol import Changes, Embedded
from search.update.indexing import remove_images
from tests.hub import keep_repository
from tests.search.collections import EMBEDDER, WIDTH, again, save_picture, save_pictures
from tests.search.drawn import draw_photos
from tests.search.found import answer, hit
from tests.search.places import index_of
from tests.search.store_contract import EmbeddedEngine, Engine, record, unit, vector_of
from tests.test_readme import blocks
from tests.towers import Exports

EVERY = QueryOptions(all_=True, top_k=12)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photos(tmp_path_factory.mktemp("drawn") / "photos")


@pytest.fixture(scope="module")
def index(photos: Path, exports: Exports) -> Iterator[ImageIndex]:
    with exports.once(), ImageIndex.build(photos, photos.parent / "index", "tiny") as built:
        yield built


@pytest.fixture
def star(photos: Path) -> Path:
    return photos / "red" / "star.png"


def names(found: Answer) -> list[str]:
    return ["/".join(Path(one.path).parts[-2:]) for one in found]


def test_an_image_is_asked_by_in_any_way_it_is_held(index: ImageIndex, star: Path) -> None:
    with Image.open(star) as picture:
        pixels = np.asarray(picture.convert("RGB"))
        ways: list[Any] = [str(star), star, star.read_bytes(), io.BytesIO(star.read_bytes())]
        ways += [picture, pixels, [star], [picture], (pixels,)]
        wanted = names(index.query(like=star, options=EVERY))
        assert wanted[0] == "red/star.png"
        for way in ways:
            found = index.query(like=way, options=EVERY)
            assert names(found)[0] == "red/star.png"
            assert found.hits[0].score == pytest.approx(1, abs=1e-4)
    with pytest.raises(TypeError, match="An image must be a path"):
        index.query(like=5)  # type: ignore[arg-type]
    with pytest.raises(FootworkError, match="it is no picture of a known kind"):
        index.query(like=b"no picture")


def test_several_images_and_words_are_asked_for_together(
    index: ImageIndex, photos: Path, star: Path
) -> None:
    circle = decode_image(photos / "blue" / "circle.png")
    held = index.query("a star", like=[star, circle], options=EVERY)
    paths = index.query("a star", like=[star, photos / "blue" / "circle.png"], options=EVERY)
    assert [one.path for one in held] == [one.path for one in paths]
    assert held.query == f"a star + {star} + an image"
    assert index.query(like=[circle, f"9:{star}"]).query == f"9:{star} + an image"
    without = names(index.query("- a circle", like=circle, options=EVERY))
    assert without
    assert "blue/circle.png" not in without


def test_a_vector_of_words_or_of_an_image_asks_what_those_ask(
    index: ImageIndex, star: Path
) -> None:
    for by_vector, given in (
        (index.encode("a red star")[0], {"words": "a red star"}),
        (index.encode_images(star)[0], {"like": star}),
    ):
        wanted = index.query(**given, options=EVERY)  # type: ignore[arg-type]
        for vector in (by_vector, 7 * by_vector.astype(np.float64), by_vector[None]):
            found = index.query(vector=vector, options=EVERY)
            assert [one.path for one in found] == [one.path for one in wanted]
            assert [one.relevance for one in found] == pytest.approx(
                [one.relevance for one in wanted], abs=1e-5
            )
            assert found.query == "a vector"


def test_a_vector_goes_with_other_terms_and_other_queries(index: ImageIndex) -> None:
    red, blue = index.encode(["something red", "something blue"])
    joined = index.query("a circle", vector=red, options=EVERY)
    said = index.query("a circle + something red", options=EVERY)
    assert names(joined) == names(said)
    assert names(joined)[0] == "red/circle.png"
    hybrid = QueryOptions(hybrid=True)
    assert names(index.query("a circle", vector=blue, options=hybrid))[0] == "blue/circle.png"
    both = index.query(vector=np.stack([red, index.encode("a star")[0]]), options=EVERY)
    assert names(both)[0] == "red/star.png"


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (
            lambda it: it.query(["a", "b"]),
            ConfigError,
            r"`words` must be a text, got \['a', 'b'\]\.",
        ),
        (lambda it: it.query(None), ConfigError, "got None.*`like`, and `answer` takes several"),
        (lambda it: it.query(5), ConfigError, "must be a text, got 5"),
        (lambda it: it.query(like=io.StringIO("a.png")), TypeError, "StringIO, open as a text"),
        (lambda it: it.build("photos", ["ix"]), ConfigError, r"`index` must be .*, got \['ix'\]"),
        (lambda it: it.build([]), ConfigError, "`roots` must name a folder, or several, got none"),
        (lambda it: it.answer("dog"), TypeError, "`queries` must be a list or the like, got one t"),
        (lambda it: it.answer(["a", 5]), ConfigError, r"`queries\[1\]` must be a Query or a text"),
        (lambda it: it.encode([1]), TypeError, "Texts must be strings, got int at 0 of `texts`"),
        (lambda it: it.encode({"text": ["a"]}), TypeError, "got a dict: take a column of it"),
    ],
)
def test_what_asks_for_nothing_is_refused_before_a_model_is_blamed(
    index: ImageIndex, ask: Callable[[ImageIndex], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ask(index)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(3), r"numbers of shape \({w},\) or \(N, {w}\).* got float64 of shape \(3,\)"),
        (np.ones((1, 1, 3)), r"got float64 of shape \(1, 1, 3\)"),
        (["a"], "got <U1 of shape"),
        (0, "zero or no number"),
        (np.nan, "zero or no number"),
    ],
)
def test_what_is_no_vector_of_the_model_is_refused(
    index: ImageIndex, vector: Any, message: str
) -> None:
    width = index.store.embedder.width
    whole = np.full(width, vector) if np.isscalar(vector) else vector
    with pytest.raises(ValueError, match=message.replace("{w}", str(width))):
        index.query(vector=whole)


def test_vectors_come_out_in_the_order_of_their_paths(
    index: ImageIndex, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(photos.rglob("*.png"))
    rows = index.vectors(paths)
    assert rows.shape == (12, index.store.embedder.width)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows, index.encode_images(paths), atol=1e-3)
    np.testing.assert_array_equal(index.vectors(paths[::-1]), rows[::-1])
    monkeypatch.chdir(photos)
    np.testing.assert_array_equal(
        index.vectors("red/star.png"), rows[[paths.index(photos / "red" / "star.png")]]
    )
    assert index.vectors([]).shape == (0, rows.shape[1])
    unknown = (
        r"2 files of 3 are no images of the index in .*index: .*/no\.png, .*/also\.png\. Index"
    )
    with pytest.raises(StoreError, match=unknown):
        index.vectors(["no.png", "red/star.png", "also.png"])


def test_the_cosines_of_texts_and_images_are_a_product(index: ImageIndex, photos: Path) -> None:
    paths = sorted(photos.rglob("*.png"))
    cosines = index.encode(["a red star", "a green square"]) @ index.vectors(paths).T
    best = [paths[place].relative_to(photos) for place in cosines.argmax(axis=1)]
    assert list(map(str, best)) == ["red/star.png", "green/square.png"]


def filled(engine: Engine, name: str) -> ImageIndex:
    """An index of the engine's that knows one image, elsewhere."""
    place = engine.place(name)
    with place.writing(), closing(place.begin(EMBEDDER)) as store:
        elsewhere = Embedded(record("/elsewhere/a.jpg"), vector_of("a", WIDTH))
        store.write(Changes(embedded=[elsewhere]))
        store.finish(np.zeros((0, WIDTH), np.float32))
    return ImageIndex(place)


def test_vectors_made_elsewhere_are_taken_in_and_nothing_is_embedded(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    paths = save_pictures(tmp_path / "photos", 3)
    (tmp_path / "photos" / "no.jpg").write_bytes(b"no picture")
    vectors = np.random.default_rng(0).normal(size=(4, WIDTH)).astype(np.float16)
    with filled(engine, "added") as index:
        done = index.add([*paths, tmp_path / "photos" / "no.jpg"], vectors)
        assert (done.copied, done.unreadable, len(done.skipped)) == (3, 1, 1)
        np.testing.assert_allclose(index.vectors(paths), unit(vectors[:3]), atol=1e-6)
        assert (index.counts().present, index.counts().unreadable) == (4, 1)
        png = Filter(formats="png", min_width=64, since="2024")  # of files that were looked at
        assert len(index.store.search(unit(vectors[:1]), 9, png)[0].records) == 3
        (tmp_path / "photos" / "no.jpg").unlink()
        assert again(index.store, tmp_path / "photos").unchanged == 3
        with pickle.loads(pickle.dumps(index)) as sent:
            np.testing.assert_array_equal(sent.vectors(paths), index.vectors(paths))
        index.store.write_labels([(str(paths[0]), {"cat": 0.5})])
        index.add(paths[0], -vectors[:1])
        assert index.store.records([str(paths[0])])[str(paths[0])].labels == {"cat": 0.5}
        np.testing.assert_allclose(index.vectors(paths[0]), unit(-vectors[:1]), atol=1e-6)


def test_what_is_added_comes_back_and_what_no_update_would_keep_is_told(tmp_path: Path) -> None:
    back, hidden, away = (tmp_path / "photos" / name for name in ("a.png", ".b/c.png", "d/e.png"))
    for number, path in enumerate((back, hidden, away)):
        save_picture(path, number)
    with ImageIndex(index_of(tmp_path / "index", tmp_path / "photos")) as index:
        remove_images(index.place, [back, away.parent], gone=False)
        done = index.add([back, hidden, away], np.ones((3, WIDTH)))
        assert (done.copied, done.left_out) == (2, 1)
        assert (
            f"takes for missing what is hidden or has no image's ending: {hidden}." in done.notes[0]
        )
        assert "1 file stayed away, as this index leaves them out." in done.notes[-1]
        assert again(index.store, tmp_path / "photos").unchanged == 1


def test_a_second_writer_waits_from_python_too(tmp_path: Path) -> None:
    paths = save_pictures(tmp_path / "photos", 2)
    with ThreadPoolExecutor() as pool, filled(EmbeddedEngine(tmp_path), "index") as index:
        with index.place.writing():
            with pytest.raises(StoreError, match="does with --wait, and update with wait=True"):
                index.add(paths, np.ones((2, WIDTH)))
            adding = pool.submit(index.add, paths, np.ones((2, WIDTH)), wait=True)
            time.sleep(0.2)
            assert not adding.done()
        assert adding.result().copied == 2


@pytest.mark.usefixtures("index")
def test_an_index_lies_among_user_data_unless_it_is_said_where(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(photos.parent)
    with ImageIndex.build("photos", model_id="tiny") as built, ImageIndex.open("photos") as opened:
        assert len(built) == built.counts().present == opened.counts().present == 12
        assert str(built.place) == str(opened.place)
        assert (tmp_path / "home") in Path(str(built.place)).parents


def test_vectors_that_fit_no_images_are_refused_before_any_is_written(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("search.transfer.sources.BATCH", 1)
    paths = save_pictures(tmp_path / "photos", 2)
    with filled(engine, "refused") as index:
        wrong = r"numbers of shape \(2, 16\): .* Got float64 of shape \(2, 3\)"
        with pytest.raises(ValueError, match=wrong):
            index.add(paths, np.ones((2, 3)))
        with pytest.raises(DataError, match=r"1 file of 2 are not there: .*gone\.png"):
            index.add([paths[0], tmp_path / "gone.png"], np.ones((2, WIDTH)))
        vectors = np.ones((2, WIDTH))
        vectors[1] = np.nan
        with pytest.raises(DataError, match="vectors: rows 1 are zero or no numbers"):
            index.add(paths, vectors)
        assert index.counts().present == 1


def test_a_filter_is_read_as_the_command_reads_it(
    index: ImageIndex, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    shutil.copytree(photos, tmp_path / "more")

    def found(**conditions: Any) -> int:
        return len(index.query("a star", options=EVERY, where=Filter(**conditions)))

    for folders in ("photos/red", ["photos/red"], Path("photos/red"), (photos / "red",)):
        assert found(folders=folders) == 4
    assert found(formats="PNG") == found(formats=[".png", "jpg"]) == 12
    assert found(formats="jpg") == 0
    assert Filter(formats=("JPG", ".tif", "heic")).formats == ("jpeg", "tiff", "heif")
    assert Filter(formats=("jp2", "mpo", "jpeg2000")).formats == ("jpeg2000", "jpeg")
    this_year = f"{date.today():%Y}"
    assert found(since=this_year, until=date.today()) == 12
    assert found(until="2000-05") == found(since=date.max) == 0
    bounds = {name: value for name, _, value in Filter(since="1970-02").bounds()}
    assert bounds == {"date": 31 * 86_400}
    assert list(Filter(since=5, until=6).bounds()) == [("date", ">=", 5), ("date", "<", 6)]
    for first in (2024, date(2024, 1, 1), datetime(2024, 1, 1, 12)):
        assert [*Filter(since=first, until=2024).bounds()] == [
            *Filter(since="2024-01-01", until="2024-12-31").bounds()
        ]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"since": "May"}, "must look like 2024-05-17, 2024-05 or 2024, got 'May'"),
        ({"since": "2024", "until": "2023"}, "`since` 2024 is after `until` 2023"),
        ({"min_width": "5"}, "`min_width` must be a whole number or None, got '5'"),
        ({"formats": "jpg2"}, "`formats` must be of images, such as jpeg.* got 'jpg2'"),
        ({"max_bytes": -1}, "`max_bytes` must be from 0 to .* got -1"),
        ({"since": 2**63}, "`since` must be from -9,223,372,036,854,775,807 to .* got 9223372"),
        ({"min_bytes": 5, "max_bytes": 4}, "`min_bytes` 5 is above `max_bytes` 4"),
    ],
)
def test_a_wrong_condition_is_named(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Filter(**conditions)


def test_a_closed_index_refuses_whatever_is_asked(photos: Path, index: ImageIndex) -> None:
    closed = ImageIndex(index.place)
    closed.query("a star")
    closed.close()
    closed.close()
    red = photos / "red" / "star.png"
    for ask in (
        lambda: closed.query("a star"),
        lambda: closed.query(like=decode_image(red)),
        lambda: closed.query(vector=np.ones(256)),
        lambda: closed.answer(["a star"]),
        lambda: closed.encode(["a"]),
        lambda: closed.encode_images(red),
        lambda: closed.vectors(red),
        lambda: closed.add(red, np.ones((1, 256))),
        lambda: closed.update(),
        lambda: closed.counts(),
        lambda: closed.__enter__(),
        lambda: pickle.dumps(closed),
    ):
        with pytest.raises(StoreError, match=r"The index in .*index is closed\. Open it anew"):
            ask()
    assert repr(closed) == f"ImageIndex('{index.place}', closed)"
    assert repr(index) == f"ImageIndex('{index.place}', made with tiny)"


def test_an_index_that_goes_on_with_another_model_is_never_closed_to_its_threads(
    index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ImageIndex.open(str(index.place)) as shared, closing(shared.place.open()) as switched:
        monkeypatch.setattr(switched, "_embedder", EMBEDDER)
        monkeypatch.setattr(IndexFolder, "open", lambda _: switched)
        asked, seen = shared.store, list[Any]()
        with patch.object(asked, "close", lambda: seen.append(shared.store)):
            assert [shared._follow(asked) for _ in range(2)] == [True, True]  # of two threads
        assert seen == [switched]
        asked.close()


def test_an_index_goes_to_another_process(
    index: ImageIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = names(index.query("a red star", options=EVERY))
    sent = pickle.dumps(index)
    monkeypatch.chdir(tmp_path)
    with pickle.loads(sent) as arrived:
        assert names(arrived.query("a red star", options=EVERY)) == wanted
    read, write = os.pipe()
    time.sleep(0.2)  # threads of the parent that have nothing to do wait for each other
    child = os.fork()
    if child == 0:  # the connections and threads of the parent are not the child's
        same = names(index.query("a red star", options=EVERY)) == wanted
        index.close()
        os.write(write, b"same" if same else b"another")
        os._exit(0)
    os.close(write)
    assert os.read(read, 9) == b"same"
    os.waitpid(child, 0)


def test_hits_become_a_frame_in_the_columns_of_the_commands_csv(index: ImageIndex) -> None:
    found = index.query("a circle", options=EVERY)
    frame = found.to_pandas()
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["path"]) == [one.path for one in found]
    assert list(frame["relevance"]) == [one.relevance for one in found]
    assert (frame["width"] == 128).all()
    assert not frame["missing"].any()
    several = index.answer(["a circle", "a yellow heart"])
    assert tuple(several.to_pandas().columns) == ("query", *COLUMNS)
    assert set(several.to_pandas()["query"]) == {"a circle"}
    none = several[1].to_pandas()
    assert (len(none), tuple(none.columns), none["score"].dtype) == (0, COLUMNS, np.float64)
    labelled = answer(hit("/a.jpg", labels={"cat": 0.2, "dog": 0.9}))
    assert list(labelled.to_pandas()["labels"]) == ["dog; cat"]
    for gone in (labelled, Answers([labelled])):
        assert gone.to_pandas()["missing"].all()


def test_what_a_command_tells_is_told_in_python(index: ImageIndex, photos: Path) -> None:
    long = "very " * 100 + "long"
    [short, cut] = index.answer(["a circle", long])
    assert (short.notes, cut.notes) == ((), (f"Too long, and cut by the model: {long}",))
    [unknown] = index.query("a circle", where=Filter(folders="nofolder")).notes
    assert unknown.startswith("--in ")
    assert f"lets no image through; the index knows {photos}" in unknown
    assert index.summary is not None
    assert (index.summary.added, index.summary.is_whole) == (12, True)


def test_how_images_are_encoded_is_said_where_an_index_is_made_and_opened(
    exports: Exports, index: ImageIndex, photos: Path, star: Path, tmp_path: Path
) -> None:
    config = EncoderConfig(device="cpu", batch_size=1, workers=1)
    place, usual = tmp_path / "ix", index.encode_images(star)
    asked = "footwork.encoder.dual.DualEncoder.__init__"
    with exports.once(), patch(asked, autospec=True, side_effect=DualEncoder.__init__) as loaded:
        with ImageIndex.build(photos, place, "tiny", config) as built:
            np.testing.assert_allclose(built.encode_images(star), usual, atol=1e-6)
            assert built.update().is_whole
        with ImageIndex.open(place, config) as opened:
            opened.encode_images(star)
    how = [call.args[3] for call in loaded.call_args_list]
    assert {(one.device, one.batch_size, one.workers) for one in how} == {("cpu", 1, 1)}
    for wrong in ({"device": "cpu"}, "cpu"):
        for made in (partial(ImageIndex.build, photos, tmp_path / "none", "tiny"), ImageIndex.open):
            with pytest.raises(ConfigError, match=r"`config` must be .*EncoderConfig"):
                made(config=wrong)


def test_an_answer_is_a_sequence_of_its_hits_and_is_short(index: ImageIndex) -> None:
    found = answer(hit("/p/a.jpg", 0.934, 0.31), hit("/p/b.jpg"))
    assert (len(found), list(found), found[0].path) == (2, list(found.hits), "/p/a.jpg")
    assert repr(found[0]) == "Hit('/p/a.jpg', relevance=0.93, score=0.310)"
    assert repr(found) == f"Answer('a dog', 2 hits, the best {found[0]!r})"
    assert repr(answer()) == "Answer('a dog', 0 hits)"
    assert found[1:].hits == (found[1],)
    assert len(found[:1].to_pandas()) == 1
    assert not index.query("a yellow heart")


def test_a_notebook_shows_thumbnails_and_keeps_its_own_style(
    index: ImageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    found = index.query("a circle")
    shows = ((found, len(found)), (found[0], 1), (Answers([found, found]), 2 * len(found)))
    for shown, images in shows:
        assert shown._repr_html_().count("<img ") == images
    odd = save_picture(tmp_path / "\"><script>alert('1')<.png", 1)
    page = answer(hit(odd), query="<script>")._repr_html_()
    assert page.count("<script>") == page.count("alert('1')") == 0
    assert page.count("<img ") == 1
    gone = answer(hit(tmp_path / "gone.png"))._repr_html_()
    assert "no such file" in gone
    assert "<style" not in gone
    assert "nothing matches" in index.query("a yellow heart")._repr_html_()


@pytest.mark.usefixtures("index")  # by which no text half is exported twice
def test_the_page_on_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
    (block,) = blocks("python", page.partition("## Finding photos")[2].partition("\n## ")[0])
    draw_photos(tmp_path / "photos" / "2024")
    shutil.copy(tmp_path / "photos/2024/red/star.png", tmp_path / "holiday.jpg")
    keep_repository(TINY_CLIP, "openai/clip-vit-base-patch32")
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, "python.md", "exec"), names)
    assert names["cosines"].shape == (2, len(names["paths"]))
    assert (tmp_path / "found.csv").is_file()
