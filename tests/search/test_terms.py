"""Queries as they are typed."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from footwork.errors import ConfigError
from search.filters import day_bounds
from search.paths import spellings
from search.query.terms import Term, parse_query, read_queries


def test_words_without_signs_are_one_term() -> None:
    assert parse_query(["a", "red", "bicycle"]).terms == (Term("a red bicycle"),)
    assert parse_query(["a red bicycle"]) == parse_query(["a", "red", "bicycle"])


def test_signs_and_weights_make_terms() -> None:
    query = parse_query(["a dog", "+", "0.5:at", "night", "-", "people", "+", ".25:snow"])
    assert query.wanted == (Term("a dog"), Term("at night", weight=0.5), Term("snow", weight=0.25))
    assert query.excluded == (Term("people", is_excluded=True),)
    assert str(query) == "a dog + 0.5:at night - people + 0.25:snow"
    assert query.words == "a dog at night snow"


@pytest.mark.parametrize(
    "words",
    [
        *("a t-shirt C++ 10:30 4:3", "10:30 at the station", "16:9", "3:2 ratio", "2.35:1 film"),
        *("note: x", "12: a sign", "0.5:1", "Paris \u2013 the tower"),
    ],
)
def test_signs_within_words_times_and_ratios_are_words(words: str) -> None:
    assert parse_query([words]).terms == (Term(words),)
    assert parse_query(["a clock", "-", words]).excluded == (Term(words, is_excluded=True),)


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["a", "cat", "-16:9"], "a cat - 16:9"),
        (["a", "cat", "-dog"], "a cat - dog"),
        (["a", "cat", "-two words"], "a cat - two words"),
        (["a", "cat", "+dog", "-", "1:x"], "a cat + dog - x"),
        (["a well-known cat -./a b.jpg"], f"a well-known cat - {Path('a').absolute()} b.jpg"),
        (["a dog + 0.5:night - people - /a.jpg"], "a dog + 0.5:night - people - /a.jpg"),
        (["a dog", "-", "/day - night  2.jpg"], "a dog - /day - night  2.jpg"),
        (["\\-heart"], "-heart"),
        (["\\-5 degrees - \\--sinse x"], "-5 degrees - --sinse x"),
        (["a \\-n"], "a -n"),
    ],
)
def test_a_sign_may_stand_at_its_term_and_all_in_one_word(words: list[str], read: str) -> None:
    assert str(parse_query(words)) == read


def test_pictures_are_told_from_words(tmp_path: Path) -> None:
    photo = str(tmp_path / "a photo.jpg")
    Path(photo).touch()
    [term] = parse_query([photo]).terms
    assert term == Term(photo, is_image=True)
    assert parse_query([Path(photo).as_uri()]).terms == (term,)
    assert parse_query([], [photo]).terms == (term,)
    assert parse_query([], [f"2:{photo}"]).terms == (Term(photo, is_image=True, weight=2.0),)
    assert parse_query(["-", photo, "+", "a dog"]).excluded == (
        Term(photo, is_image=True, is_excluded=True),
    )
    assert parse_query([], ["2:20240101.jpg"]).terms[0].weight == 2.0
    odd = tmp_path / "2:odd.jpg"
    odd.touch()
    assert parse_query([], [str(odd)]).terms[0].weight == 1.0


@pytest.mark.parametrize("address", ["https://example.com/a.jpg", "file://nas/photos/a.jpg"])
def test_pictures_of_other_machines_are_refused(address: str) -> None:
    for query in (([address], []), ([], [address])):
        with pytest.raises(ConfigError, match=r"lies on another machine.*save it here"):
            parse_query(*query)


@pytest.mark.parametrize("words", [[], ["-", "people"], ["+"], ["a", "-"], ["  "]])
def test_nothing_asked_for_is_said(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"Nothing is asked for|A term is empty"):
        parse_query(words)


@pytest.mark.parametrize("weight", ["0", f"{10**7}", "9" * 400])
def test_weights_are_within_bounds(weight: str) -> None:
    with pytest.raises(ConfigError, match="A weight must be above 0 and at most 1,000,000"):
        parse_query([f"{weight}:a dog"])


def test_what_is_left_out_has_no_weight() -> None:
    with pytest.raises(ConfigError, match=r"left out has no weight, got 0\.5 before a dog\. Weigh"):
        parse_query(["a cat", "-0.5:a dog"])


def test_words_that_are_no_utf_8_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"The words dog\\xff are no UTF-8"):
        parse_query([os.fsdecode(b"dog\xff")])
    assert parse_query([os.fsdecode(b"/dog\xff")]).terms[0].is_image


def test_files_of_queries(tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_bytes("\ufeffa dog\r\n# of people\n\n  un été - people\n\\#1 dad\n".encode())
    assert [str(query) for query in read_queries(file, io.BytesIO())] == [
        "a dog",
        "un été - people",
        "#1 dad",
    ]
    assert len(read_queries(Path("-"), io.BytesIO("é\nb\n".encode()))) == 2
    file.write_bytes(b"a\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"queries.txt is not UTF-8 \(line 2\). Save it"):
        read_queries(file, io.BytesIO())
    with pytest.raises(ConfigError, match="standard input is empty"):
        read_queries(Path("-"), io.BytesIO(b"\n# nothing\n"))
    with pytest.raises(ConfigError, match="standard input, line 2: Nothing is asked for"):
        read_queries(Path("-"), io.BytesIO(b"a\n- b\n"))
    with pytest.raises(ConfigError, match=r"Cannot read .*none: No such file"):
        read_queries(tmp_path / "none", io.BytesIO())


@pytest.mark.parametrize("word", ["--topk", "-n"])
def test_a_word_like_an_option_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word} looks like an option.*: - "):
        parse_query(["a", "dog", word, "5"])


def test_days_months_and_years_are_spans() -> None:
    day = 86_400
    assert day_bounds("1970-01-02") == (day, 2 * day)
    assert day_bounds("1970-02") == (31 * day, 59 * day)
    assert day_bounds("1972") == (730 * day, 1096 * day)
    assert day_bounds("9999")[1] == day_bounds("9999-12-31")[1]


@pytest.mark.parametrize("text", ["", "May", "2024-13", "2024-02-30", "24", "0000", "2024/05/17"])
def test_other_dates_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"A date must look like|is no date"):
        day_bounds(text)


@pytest.mark.parametrize("word", ["\u2014since", "\u2013heart", "\u2212heart"])
def test_a_dash_that_a_word_processor_made_is_told(word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word} begins with a dash that no option"):
        parse_query(["a dog", word])


def test_a_name_is_spelt_composed_and_decomposed() -> None:
    composed, decomposed = "/\u00e9/a/\u00fc", "/e\u0301/a/u\u0308"
    assert spellings("/a/b c") == ("/a/b c",)
    assert {composed, decomposed, "/\u00e9/a/u\u0308"} < set(spellings(composed))
    assert set(spellings(composed)) == set(spellings(decomposed))
    assert len(spellings("/\u00e9" * 1000)) == 256
