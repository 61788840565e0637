"""Every benchmark in miniature: tiny models, a few rows, one round. That it runs, not how fast."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmarks import search, text, zeroshot
from scripts.benchmarks.suite import Setting, hold
from tests.runs import quick_ending

BENCHMARKS = {
    f"{suite.__name__.rpartition('.')[2]} {name}": benchmark
    for suite in (text, zeroshot, search)
    for name, benchmark in suite.BENCHMARKS.items()
}


@pytest.mark.usefixtures("exported_once")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_in_miniature(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    contests = []
    with quick_ending():
        for contest in BENCHMARKS[name](Setting(folder=tmp_path, miniature=True)):
            contests.append(contest.name)
            for figure in hold(replace(contest, warm_up=False), rounds=1):
                assert json.loads(json.dumps(figure)) == figure
                assert figure["value"]["least"] > 0
                assert "peer" not in figure or figure["ratio"]["least"] > 0
    assert contests
    assert len(contests) == len(set(contests))
