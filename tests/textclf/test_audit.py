"""The audit names every row that may spoil a training run."""

from __future__ import annotations

import html
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from footwork.errors import ConfigError, ModelError
from footwork.evaluation.text import display_width
from footwork.methods.adaptation import require_adaptable
from footwork.methods.table import METHODS, AdaptationConfig
from footwork.models.checkpoints import load_shape, load_tokenizer
from footwork.tables.writer import write_rows
from tests.models import build_base, build_tokenizer
from tests.textclf.loading import SKIP, load
from textclf.audit import tokens
from textclf.audit.audit import Audit, audit_data
from textclf.audit.cost import Cost, ModelSize, estimate_cost
from textclf.audit.findings import Finding
from textclf.audit.model import AuditedModel, open_model
from textclf.audit.tokens import Vocabulary, count_tokens
from textclf.config import TrainConfig
from textclf.data import DataOptions, Examples, load_data

SIZE = ModelSize(parameters=3_000_000, embedding_parameters=1_000_000, encoder_parameters=1_900_000)
RUN = TrainConfig(
    method="lora",
    num_epochs=3,
    batch_size=8,
    learning_rate=1e-3,
    best_metric="accuracy",
    mixed_precision="float32",
)
KEEP_GOING = DataOptions(keep_going=True)
WORDS = {"good": "pos", "bad": "neg"}
CLEAN = [(f"{word} film {i}", label) for i in range(12) for word, label in WORDS.items()]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(build_tokenizer("bert").backend_tokenizer, 1)


@pytest.fixture(autouse=True)
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """To measure the processor's takes a moment each time."""
    monkeypatch.setattr("footwork.accelerator.matrix_rate", lambda *_: 1e11)


Audited = Callable[..., Audit]
Rows = Sequence[tuple[str, Any]]


@pytest.fixture
def audited(tmp_path: Path, vocabulary: Vocabulary) -> Audited:
    """Audits splits, which are given by name."""

    def audit(max_length: int = 64, options: DataOptions = KEEP_GOING, **splits: Rows) -> Audit:
        for name, rows in splits.items():
            labelled = [{"text": text, "label": label} for text, label in rows]
            write_rows(labelled, tmp_path / f"{name}.jsonl")
        return audit_data(load_data(str(tmp_path), options), vocabulary, max_length, None)

    return audit


def finding(audit: Audit, kind: str) -> Finding:
    found = [one for one in audit.findings if one.kind == kind]
    assert len(found) == 1, f"{kind} in {[one.kind for one in audit.findings]}"
    return found[0]


def test_a_clean_set_has_nothing_to_tell(audited: Audited) -> None:
    audit = audited(train=CLEAN, dev=[("fine film", "pos"), ("dull film", "neg")])
    assert [finding.kind for finding in audit.findings] == ["few_rows"]
    assert audit.usable
    assert audit.splits["train"].counts == {"neg": 12, "pos": 12}


def test_repeated_contradicting_and_leaked_texts_are_named(audited: Audited) -> None:
    train = [*CLEAN, ("Same  Text", "pos"), ("same text", "pos"), ("twist", "pos")]
    train += [("twist", "neg")]
    audit = audited(train=train, dev=[("SAME text", "pos"), ("new", "neg")])
    assert finding(audit, "duplicates").rows == {"train": [26, 28]}
    assert finding(audit, "conflicts").rows == {"train": [27, 28]}
    assert finding(audit, "leak_validation").rows == {"train": [25, 26], "validation": [1]}
    assert finding(audit, "conflicts").details["groups"] == [[["train", 27], ["train", 28]]]


def test_equal_texts_of_other_amounts_are_not_called_wrong(audited: Audited) -> None:
    rows = [(f"text number {i}", str(i / 10)) for i in range(24)]
    train = [*rows, ("same text", "1.5"), ("Same  text", "2.5"), ("one", "1"), ("one", "1")]
    train += [("none", "0.0"), ("none", "-0.0")]
    found = finding(audited(train=train, dev=rows[:3]), "conflicts")
    assert (found.severity, found.rows) == ("note", {"train": [25, 26]})
    said = "1 text stands with several amounts, 1 apart in the median, at most 1 (of all training"
    assert found.message.startswith(said)
    assert "wrong" not in found.message


def test_empty_texts_are_no_duplicates(audited: Audited) -> None:
    blank = [(text, label) for text in ("", " ", "\u200b", "\ufeff") for label in ("pos", "neg")]
    audit = audited(train=[*CLEAN, *blank], dev=CLEAN[:1])
    assert finding(audit, "empty_texts").rows == {"train": [*range(25, 33)]}
    assert not any(one.kind in ("duplicates", "conflicts") for one in audit.findings)


def test_lost_tokens_are_counted_exactly(audited: Audited) -> None:
    # One token a word, and two that the tokenizer adds.
    train = [*CLEAN, ("good " * 30, "pos"), ("bad " * 100, "neg")]
    audit = audited(20, train=train, dev=CLEAN[:2])
    cut = finding(audit, "truncated")
    assert cut.rows == {"train": [25, 26]}
    assert cut.details["tokens"] == 12 + 82
    assert cut.details["worst"][0] == {"split": "train", "row": 26, "lost_tokens": 82}
    assert finding(audit, "very_long").rows == {"train": [26]}
    assert audit.splits["train"].lost_tokens == 94


@pytest.mark.parametrize("spaces", [True, False])
def test_words_are_added_up_only_where_that_gives_the_tokens_of_whole_texts(
    spaces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Tokenizer(models.BPE(byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=spaces)
    words = ["good", "film", "it's", "x", "gut!", "schön"]
    trained = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    backend.train_from_iterator([" ".join(words), "good film x x"] * 9, trained)
    own = Vocabulary(backend, 0)
    odd = ["", " x", "x  good", "good\u00a0film", "字" * 40, "x\n", "good film"]
    texts = odd + [" ".join(random.Random(i).choices(words, k=i % 9)) for i in range(80)]
    data = Examples(texts, texts[::-1], np.zeros(len(texts)), list(range(len(texts))), "t")
    whole = count_tokens(data, own)
    monkeypatch.setattr(tokens, "_PROOF_TEXTS", 15)
    monkeypatch.setattr(tokens, "_KNOWN_WORDS", 4)
    summed = count_tokens(data, own)
    assert (whole.proven > 0, summed.proven > 0) == (False, spaces)
    assert summed.lengths.tolist() == whole.lengths.tolist()
    assert summed.unknown.tolist() == whole.unknown.tolist()


def test_a_large_table_tells_its_counting(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = audited(train=CLEAN, dev=CLEAN[:1])
    monkeypatch.setattr(tokens, "_PROOF_TEXTS", 3)
    after = audited(train=CLEAN, dev=CLEAN[:1])
    assert after.splits == before.splits
    assert after.notes[-1].startswith("Texts have the tokens of their words, as 3 that were")
    assert after.notes[:-1] == before.notes


def test_texts_of_another_script_are_named(audited: Audited) -> None:
    train = [*CLEAN, ("영화 좋아요 정말", "pos")]
    audit = audited(train=train, dev=CLEAN[:1])
    assert finding(audit, "unknown_tokens").rows == {"train": [25]}


def test_small_and_unbalanced_classes_are_named(audited: Audited) -> None:
    train = [*CLEAN, ("one", "rare"), *((f"few {i}", "few") for i in range(4))]
    audit = audited(train=train, dev=CLEAN[:2])
    assert finding(audit, "single_row_classes").rows == {"train": [25]}
    assert finding(audit, "small_classes").details["labels"] == ["few"]
    assert "'rare' 1" in finding(audit, "imbalance").message
    assert finding(audit, "not_validated").details["labels"] == ["few", "rare"]


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["Pos", "neg", "pos"], ["Pos", "pos"]),
        (
            ["non-toxic", "non\u2011toxic", "non\u2013toxic", "toxic"],
            ["non-toxic", "non\u2011toxic", "non\u2013toxic"],
        ),
        (["1", "1.0", "01", "True", "2", "yes"], ["01", "1", "1.0", "True"]),
    ],
)
def test_labels_that_differ_in_case_dashes_or_how_they_are_written_are_named(
    names: list[str], alike: list[str], audited: Audited
) -> None:
    train = [(f"text {i}", names[i % len(names)]) for i in range(60)]
    audit = audited(train=train, dev=train[:3])
    assert finding(audit, "similar_labels").details["labels"] == alike


def test_a_label_on_every_row_is_named(audited: Audited) -> None:
    labels = [["any", "joy"], ["any"], ["any", "fear"]]
    audit = audited(train=[(f"text {i}", labels[i % 3]) for i in range(60)])
    assert finding(audit, "constant_labels").details["labels"] == ["any"]
    assert audit.usable
    always = [(f"text {i}", ["any", "all"]) for i in range(60)]
    assert not audited(train=always).usable


@pytest.mark.parametrize(
    ("train", "dev", "kind"),
    [
        ([("a b", "pos"), ("b c", "pos"), ("c d", "pos")], [("d e", "pos")], "one_class"),
        ([("", "pos"), ("", "neg")], [("d e", "pos")], "empty_texts"),
        (CLEAN, [("d e", "pos"), ("e f", "zzz")], "unseen_labels"),
        ([*CLEAN, ("no label", "")], [("d e", "pos")], "bad_rows"),
    ],
)
def test_what_ends_training_is_an_error(audited: Audited, train: Any, dev: Any, kind: str) -> None:
    audit = audited(train=train, dev=dev)
    assert finding(audit, kind).severity == "error"
    assert not audit.usable
    assert "Usable: no" in audit.to_text()


def test_skipped_rows_leave_a_set_usable(tmp_path: Path, audited: Audited) -> None:
    train = [*CLEAN, ("no label", "")]
    audit = audited(options=SKIP, train=train)
    assert finding(audit, "skipped").rows == {str(tmp_path / "train.jsonl"): [25]}
    assert audit.usable


@pytest.mark.parametrize(
    ("task", "labels"), [("multi", [["a", "b"], ["a"], []]), ("regression", [1, 2.5, 7])]
)
def test_other_tasks_are_audited_too(
    tmp_path: Path, vocabulary: Vocabulary, task: str, labels: list[Any]
) -> None:
    rows = [{"text": f"text {i}", "label": labels[i % 3]} for i in range(30)]
    audit = audit_data(load(tmp_path, rows, DataOptions(task=task)), vocabulary, 64, (SIZE, RUN))
    assert audit.usable
    assert audit.to_dict()["splits"]["train"]["rows"] == 27
    assert repr(audit).endswith("rows: train 27, validation 3; usable>")
    assert html.unescape(audit._repr_html_()) == f"<pre>{audit.to_text()}</pre>"
    assert ("greatest" in audit.to_text()) == (task == "regression")
    assert ("accuracy" in audit.to_text()) == (task != "regression")
    by = "amount" if task == "regression" else "label"
    assert f"No validation file: 3 of 30 rows are held out, by {by}." in audit.notes


def test_one_row_tells_little(audited: Audited) -> None:
    few = finding(audited(train=CLEAN, dev=CLEAN[:1]), "few_rows")
    assert "and 1 row tells an accuracy to 98 points" in few.message


def test_a_text_of_a_megabyte_is_audited(audited: Audited) -> None:
    audit = audited(train=[*CLEAN, ("good " * 200_000, "pos")], dev=CLEAN[:1])
    assert finding(audit, "truncated").details["tokens"] == 200_002 - 64


def test_the_report_fits_a_terminal_and_json_has_all_rows(audited: Audited) -> None:
    wide = "아주긴이름" * 12
    words = ("good", "bad") * 40
    train = [(f"some {word} film", label) for word in words for label in ("a", wide)]
    audit = audited(4, train=train, dev=train[:3])
    text = audit.to_text()
    assert max(map(display_width, text.splitlines())) <= 100
    assert "and 150 more" in text
    document = audit.to_dict()
    rows = {one["kind"]: one["rows"] for one in document["findings"]}
    assert rows["truncated"]["train"] == list(range(1, 161))
    assert document["usable"] is True


def test_pairs_are_counted_as_pairs(tmp_path: Path, vocabulary: Vocabulary) -> None:
    rows = [
        {"premise": "good film", "hypothesis": f"bad book {'the ' * (i + 1)}", "label": "ab"[i % 2]}
        for i in range(8)
    ]
    audit = audit_data(load(tmp_path, rows), vocabulary, 64, None)
    assert audit.splits["train"].longest_tokens in (3 + 2 + 2 + 8, 3 + 2 + 2 + 7)
    assert not any(one.kind == "duplicates" for one in audit.findings)


def test_estimates_grow_with_the_work() -> None:
    def cost(method: str, tokens: int) -> Cost:
        train, validation = np.full(100, tokens), np.full(10, 20)
        return estimate_cost(SIZE, replace(RUN, method=method), train, validation)

    lora, whole, longer = cost("lora", 20), cost("full", 20), cost("lora", 200)
    assert 0 < lora.memory_bytes < whole.memory_bytes
    assert longer.memory_bytes > lora.memory_bytes
    assert lora.tokens == 2000
    assert lora.device_flops > 0
    assert lora.minutes > 0


def test_one_long_text_makes_its_whole_batch_as_long() -> None:
    def cost(*tokens: int, size: ModelSize = SIZE) -> Cost:
        run = replace(RUN, batch_size=32)
        return estimate_cost(size, run, np.array(tokens), np.full(4, 20))

    short, one, every = cost(*[20] * 64), cost(*[20] * 63, 256), cost(*[256] * 64)
    assert one.memory_bytes == pytest.approx(every.memory_bytes, rel=0.1)
    assert one.memory_bytes > short.memory_bytes + 32 * (256 - 20) * 128 * 90
    work = [each.minutes * each.device_flops for each in (short, one, every)]
    assert work[1] - work[0] == pytest.approx((work[2] - work[0]) / 2, rel=0.1)
    heads = cost(*[20] * 63, 256, size=replace(SIZE, num_heads=12))
    assert heads.memory_bytes > one.memory_bytes


def spoil(folder: Path, file: str, **changed: Any) -> None:
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(settings | changed))


SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("bert", {}),
    ("bert", {"type_vocab_size": 3, "id2label": {"0": "a", "1": "b", "2": "c"}}),
    ("roberta", {}),
    ("deberta-v2", {}),
    ("deberta-v2", {"share_att_key": False, "norm_rel_ebd": "none", "type_vocab_size": 2}),
    ("deberta-v2", {"position_biased_input": True, "position_buckets": -1}),
    ("deberta-v2", {"relative_attention": False, "pos_att_type": []}),
    ("tiny", {}),
]


@pytest.mark.parametrize(("family", "changed"), SHAPES)
def test_the_files_of_a_model_tell_what_transformers_makes_of_them(
    family: str, changed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = family if family == "tiny" else str(build_base(tmp_path / "base", family))
    if changed:
        spoil(tmp_path / "base", "config.json", **changed)
    tokenizer, shape = load_tokenizer(model_id), load_shape(model_id)
    made = AuditedModel.of(shape, tokenizer)
    for name, method in METHODS.items():  # none refuses a model of which only the files are read
        if method.has_model:
            require_adaptable(shape, AdaptationConfig(method=name), checkpointing=True)
    monkeypatch.setattr(AuditedModel, "of", None)
    read, _ = open_model(TrainConfig(model_id=model_id))
    assert read.size == made.size
    assert read.vocabulary.unknown_id == made.vocabulary.unknown_id
    texts = ["Good  film, bad\tbook", "영화 x\n", " the é", "the [SEP] film"]
    read_ids, made_ids = (
        [one.ids for one in each.vocabulary.tokenizer.encode_batch(texts)] for each in (read, made)
    )
    assert read_ids == made_ids


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("config.json", {"conv_kernel_size": 3}),
        ("config.json", {"num_attention_heads": 5}),
        ("config.json", {"hidden_act": "foo"}),
        ("config.json", {"num_labels": 5}),
        ("config.json", {"pos_att_type": "c2p|p2c"}),
        ("tokenizer_config.json", {"split_special_tokens": True}),
        ("tokenizer_config.json", {"do_lower_case": True}),
        ("tokenizer_config.json", {"extra_special_tokens": ["<new>"]}),
        ("tokenizer_config.json", {"backend": None}),
        ("tokenizer_config.json", {"unk_token": "no such token"}),
        ("tokenizer.json", {"model": None}),
    ],
)
def test_where_the_files_do_not_tell_all_transformers_is_asked(
    file: str, changed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_base(tmp_path / "base", "deberta-v2")
    spoil(base, file, **changed)
    asked = Mock(side_effect=ModelError("asked"))
    monkeypatch.setattr("footwork.models.checkpoints.load_tokenizer", asked)
    with pytest.raises(ModelError, match="asked"):
        open_model(TrainConfig(model_id=str(base)))


def test_an_audit_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    write_rows([{"text": t, "label": y} for t, y in CLEAN], tmp_path / "d.jsonl")
    code = (
        "import sys; from textclf.audit import cost; cost.computes_in_float32 = lambda _: True\n"
        "from textclf.audit import model; model.computes_in_float32 = lambda _: True\n"
        "from footwork.cli import run\n"
        f"try: run(['textclf', 'audit', {str(tmp_path / 'd.jsonl')!r}, '--model', 'tiny'])\n"
        "finally: sys.exit(len({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "Usable: yes." in done.stdout) == (0, True), done.stderr


def test_an_impossible_length_is_a_wrong_command(audited: Audited) -> None:
    with pytest.raises(ConfigError, match="`max_length` must be at least 1"):
        audited(0, train=CLEAN)
