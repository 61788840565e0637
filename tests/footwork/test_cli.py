from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import footwork
import search
import textclf
import zeroshot
from footwork import cli, errors
from footwork.failures import explain


def boxing_process(folder: Path, *words: str) -> list[str]:
    code = "import sys, footwork.cli as c; c.APPLICATIONS = ('boxing',); sys.exit(c.main())"
    path = f"import sys; sys.path.insert(0, {str(folder.parent)!r})"
    return [sys.executable, "-c", f"{path}; {code}", *words]


def test_the_program_tells_the_installed_version() -> None:
    program = str(Path(sys.executable).with_name("footwork"))
    assert subprocess.check_output([program, "--version"], text=True).strip() == version("footwork")


def test_an_unknown_application_is_a_wrong_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["textcfl"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith('footwork: error: Unknown command "textcfl".')
    assert 'Did you mean "textclf"?' in shown.err


def test_help_names_the_applications_and_imports_none_and_nothing_heavy() -> None:
    code = (
        "import sys, footwork.cli as c; c.main(['--help']); "
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "textclf" in done.stdout
    assert "Exit codes: 0 done" in done.stdout
    assert not {"torch", "numpy", "transformers", *cli.APPLICATIONS} & {*done.stderr.split()}


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--", "signal"], "footwork boxing fail --resume -- signal"),
        (["signal", "--out", "my texts"], "footwork boxing fail signal --out 'my texts' --resume"),
        (["signal", "--resume"], "footwork boxing fail signal --resume"),
        (["signal", "--overwrite", "--debug"], "footwork boxing fail signal --resume"),
    ],
)
@pytest.mark.usefixtures("boxing")
def test_an_interrupted_run_ends_with_the_command_that_goes_on(
    words: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["boxing", "fail", *words]) == 143
    assert capsys.readouterr().err.endswith(f" That is: {command}\n")


@pytest.mark.usefixtures("boxing")
def test_a_lost_process_is_no_fault_of_footwork(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["boxing", "fail", "peer"]) == 1
    assert "RuntimeError" in capsys.readouterr().err  # alone it has no peer
    monkeypatch.setenv("RANK", "0")
    assert cli.main(["boxing", "fail", "peer"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("footwork: error: another process of this run ended first")
    assert "fault of Footwork" not in shown
    cli.main(["boxing", "fail", "signal"])
    assert capsys.readouterr().err == "footwork: saved at step 7\n"  # the launcher is not known


@pytest.mark.usefixtures("boxing")
def test_only_what_is_there_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Hit and do not be hit." in shown
    assert "More follows" not in shown
    assert "not_installed" not in shown
    assert "boxing" not in sys.modules


OWN_FAULT = "This is a fault of Footwork: KeyError: 'stance'; run again with --debug for the"


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("data", 1, "error: row 3 has no label\n"),
        ("config", 2, "error: `rounds` must be at least 1, got 0.\n"),
        ("signal", 143, "saved at step 7 That is: footwork boxing fail signal --resume\n"),
        ("keyboard", 130, "interrupted.\n"),
        ("disk", 1, "error: no space left on the disk"),
        ("wrapped disk", 1, "error: no space left on the disk"),
        ("locked", 1, "error: out: Permission denied.\n"),
        ("memory", 1, "error: out of memory."),
        ("bug", 1, f"error: {OWN_FAULT} traceback\n"),
    ],
)
@pytest.mark.usefixtures("boxing")
def test_a_failure_is_one_line_and_a_code(
    fault: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["boxing", "fail", fault]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"footwork: {message}")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.usefixtures("boxing")
def test_debug_anywhere_shows_the_traceback(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["boxing", "fail", "bug"]
    words.insert(place, "--debug")
    assert cli.main(words) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.usefixtures("boxing")
def test_a_word_after_two_dashes_is_not_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["boxing", "fail", "--", "--debug"]) == 1
    assert "KeyError: '--debug'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["boxing", "bx"], 'Unknown command "bx". Did you mean "box"?'),
        (["boxing", "box", "--num-round", "3"], "Did you mean --num-rounds?"),
        (["boxing", "box", "--num-rounds", "x"], 'unable to convert "x" into int'),
        (["boxing", "box", "--stance", "southpa"], 'Did you mean "southpaw"?'),
        (["boxing", "fail"], "requires an argument"),
    ],
)
@pytest.mark.usefixtures("boxing")
def test_a_wrong_command_says_what_was_meant(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.endswith("--help\n")


def test_a_configuration_file_fills_in_what_the_command_line_leaves_open(
    boxing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = boxing.parent / "bout.toml"
    settings.write_text('num_rounds = 12\nstance = "southpaw"\ncorners = ["red", "blue"]\n')
    assert cli.main(["boxing", "box", "--config", str(settings)]) == 0
    assert capsys.readouterr().out == "12 southpaw red blue\n"
    assert cli.main(["boxing", "skip"]) == 3  # the code of a command is that of the process
    overriding = ["--num-rounds", "4", "--corners", "green"]
    assert cli.main(["boxing", "box", "--config", str(settings), *overriding]) == 0
    assert capsys.readouterr().out == "4 southpaw green\n"


@pytest.mark.usefixtures("boxing")
def test_the_environment_fills_in_what_the_command_line_leaves_open_and_wins_over_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOOTWORK_BOXING_BOX_NUM_ROUNDS", "5")
    monkeypatch.setenv("FOOTWORK_STANCE", "southpaw")  # not about the machine
    monkeypatch.setenv("FOOTWORK_REST", "60")
    Path("bout.toml").write_text("num_rounds = 12\nrest = 30\n")
    assert cli.main(["boxing", "box", "--config", "bout.toml"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "5 orthodox 60\n"
    assert shown.err == "From the environment: FOOTWORK_BOXING_BOX_NUM_ROUNDS, FOOTWORK_REST\n"
    assert cli.main(["boxing", "box", "--num-rounds", "4", "--rest", "7"]) == 0
    assert capsys.readouterr() == ("4 orthodox 7\n", "")
    monkeypatch.setenv("FOOTWORK_BOXING_BOX_NUMROUNDS", "9")
    assert cli.main(["boxing", "box", "--num-rounds", "4", "--rest", "7"]) == 0
    told = "FOOTWORK_BOXING_BOX_NUMROUNDS is no setting of footwork boxing box.\n"
    assert capsys.readouterr() == ("4 orthodox 7\n", told)
    monkeypatch.setenv("FOOTWORK_REST", "long")
    assert cli.main(["boxing", "box"]) == 2
    assert "Invalid value for FOOTWORK_REST from env: unable to" in capsys.readouterr().err


@pytest.mark.usefixtures("boxing")
def test_the_environment_denies_nothing_by_its_negative(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["boxing", "box", "--no-gloves"]) == 0
    monkeypatch.setenv("FOOTWORK_BOXING_BOX_NO_GLOVES", "1")
    assert cli.main(["boxing", "box"]) == 2
    assert "in the environment GLOVES=false at its end" in capsys.readouterr().err


def test_a_column_in_the_environment_may_hold_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (table := tmp_path / "t.csv").write_text("text,label\na,b\n")
    monkeypatch.setenv("FOOTWORK_TEXTCLF_TRAIN_TEXT_COLUMN", "my text")
    assert cli.main(["textclf", "train", str(table), str(tmp_path / "out"), "--method=linear"]) != 0
    assert "'my text'" in capsys.readouterr().err


def test_a_shell_completes_commands_and_options() -> None:
    asked = """source /dev/stdin
    COMP_WORDS=(footwork textclf train --lora-r) COMP_CWORD=3
    _footwork; echo "${COMPREPLY[@]}"
    COMP_WORDS=(footwork se) COMP_CWORD=1
    _footwork; echo "${COMPREPLY[@]}"
    """
    program = str(Path(sys.executable).with_name("footwork"))
    script = subprocess.check_output([program, "completion", "bash"])
    answer = subprocess.check_output(["bash", "-c", asked], input=script)
    assert answer.split() == [b"--lora-rank", b"search"]


def test_other_shells_have_a_script_of_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.endswith("\ncompdef _cyclopts_footwork footwork\n")
    assert cli.main(["completion", "cmd"]) == 2
    assert "must be one of bash, zsh, fish, powershell" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("num_round = 12", 'Unknown option: "[num_round]" from bout.toml. Did you mean'),
        ('num_rounds = "x"', "Invalid value for [num_rounds] from bout.toml: unable to conv"),
        ("num_rounds = ", "bout.toml is not valid TOML: "),
        ('config = "other.toml"', "bout.toml names another file under `config`."),
        (
            "no_gloves = true",
            "[no_gloves] must be stated by what it denies. In a file write gloves =",
        ),
        ("[boxing.box]\nnum_rounds = 12", "bout.toml has `boxing`, which is no setting. Settings "),
        ("[bout]\nnum_rounds = 12", "bout.toml has `bout`, which is no setting."),
        ("completion = 3", "bout.toml has `completion`, which is no setting."),
        (None, "Cannot read the configuration bout.toml: No such file or directory."),
    ],
)
@pytest.mark.usefixtures("boxing")
def test_a_wrong_configuration_file_is_a_wrong_command(
    content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path("bout.toml").write_text(content)
    assert cli.main(["boxing", "box", "--config", "bout.toml"]) == 2
    assert capsys.readouterr().err.startswith(f"footwork: error: {message}")


def test_a_closed_pipe_ends_quietly(boxing: Path) -> None:
    command = boxing_process(boxing, "boxing", "count", "200000")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_the_output_is_said_once(boxing: Path) -> None:
    command = boxing_process(boxing, "boxing", "count", "3")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("footwork: error: no space left on the disk")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("boxing")
def test_one_process_of_many_says_which_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    cli.main(["boxing", "fail", "data"])
    assert capsys.readouterr().err == "footwork (process 1): error: row 3 has no label\n"


@pytest.mark.parametrize(
    "told",
    ["database or disk is full", "14784 requested and 992 written", "problem writing element 7"],
)
def test_a_full_disk_is_told_from_the_words_of_other_libraries(told: str) -> None:
    assert "no space left on the disk" in explain(OSError(told), ())[0]


def test_what_the_output_cannot_encode_is_escaped() -> None:
    code = "from footwork.cli import main; main(['--version']); print(chr(0x65e5))"
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=True
    )
    assert shown.stdout.endswith(b"\\u65e5\n")


def test_footwork_has_the_names_of_its_applications() -> None:
    names = [*textclf.__all__, *zeroshot.__all__, *search.__all__, *footwork.ERRORS]
    assert footwork.DataError is errors.DataError
    assert sorted(dir(footwork)) == sorted(set(names)), "a name stands for one thing"
    assert footwork.TextClassifier is textclf.TextClassifier
    for package in (textclf, zeroshot, search):
        assert {*package.__all__} <= {*dir(package)}
        assert all(hasattr(package, name) for name in dir(package))
    assert footwork.__version__ == version("footwork")
    with pytest.raises(AttributeError, match="no attribute 'Boxer'"):
        _ = footwork.Boxer


def run_beside(name: str, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a folder that holds a file of the user's."""
    (folder / name).write_text("")
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{Path(footwork.__file__).parents[1]}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import footwork; footwork.ImageIndex",
        "from footwork.cli import run; run(['search', 'status'])",
        "from footwork.cli import run; run(['zeroshot', 'undo', 'x.jsonl'])",
    ],
)
def test_a_users_file_of_our_name_is_named(code: str, tmp_path: Path) -> None:
    done = run_beside("search.py", code, tmp_path)
    assert done.returncode != 0
    assert f"{tmp_path / 'search.py'} hides Footwork's own package `search`" in done.stderr
    assert "fault of Footwork" not in done.stderr


def test_a_users_runtime_is_no_trouble(tmp_path: Path) -> None:
    done = run_beside("runtime.py", "import footwork; footwork.TextClassifier", tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_users_folder_of_our_name_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "footwork").mkdir()
    code = "import footwork; footwork.train"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
