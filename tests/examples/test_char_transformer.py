"""The character example runs, and the count model beside it is an honest one."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import char_transformer as example
from char_transformer import CountModel


def test_it_runs_and_ends_with_a_number_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole program on a short text and with a small model."""
    text = example.load()[0]
    monkeypatch.setattr(example, "load", lambda: (text[:5000], text[5000:6000]))
    monkeypatch.setattr(example, "WIDTH", 16)
    monkeypatch.setattr(example, "BLOCKS", 1)
    example.main(["--steps", "20", "--threads", "1", "--out", str(tmp_path)])
    *_, counts, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"order-5 count model: \d\.\d{3} bits per held-out character", counts)
    found = re.fullmatch(r"transformer: (\d+\.\d{3}) bits per held-out character", last)
    assert found is not None
    assert float(found[1]) < math.log2(len(set(text[:6000])))  # better than knowing nothing
    assert (tmp_path / "char_transformer.png").stat().st_size > 1000


def test_the_texts_share_no_paragraph() -> None:
    training, held_out = example.load()
    assert 8 < len(training) / len(held_out) < 10
    shared = set(training.split("\n\n")) & set(held_out.split("\n\n")[1:])
    assert not shared


def test_scored_characters_are_the_same_for_both_models() -> None:
    codes = np.arange(300)
    rows = example.windows(codes)
    scored = rows[:, 1:][:, example.CONTEXT :].ravel()
    end = example.CONTEXT * len(rows) + example.CONTEXT + 1
    np.testing.assert_array_equal(scored, codes[example.CONTEXT + 1 : end])


@pytest.mark.parametrize("context", ["", "a", "ab", "zzzzz", "abracz", "xbra"])
def test_probabilities_of_the_count_model_sum_to_one(context: str) -> None:
    alphabet = "abcdrxz"
    model = CountModel("abracadabra" * 3, 3, len(alphabet))
    found = [model.probability(character, context) for character in alphabet]
    assert min(found) > 0
    assert math.isclose(sum(found), 1, rel_tol=1e-12)


def test_count_model_by_hand() -> None:
    """ "abab": after the empty context a twice, b twice; after a twice b; after b once a."""
    model = CountModel("abab", 1, 3)
    empty = {"a": (2 + 2 / 3) / 6, "b": (2 + 2 / 3) / 6, "c": (0 + 2 / 3) / 6}
    assert math.isclose(model.probability("b", "a"), (2 + empty["b"]) / 3)
    assert math.isclose(model.probability("c", "b"), (0 + empty["c"]) / 2)
    assert math.isclose(model.bits("ab", 1), -math.log2((2 + empty["b"]) / 3))


def test_generated_characters_are_reproducible() -> None:
    found: list[Any] = []
    for _ in range(2):
        x = example.graphc.placeholder("x", ("batch", example.LENGTH), "int64")
        scores = example.nn.Sequential(example.nn.Embedding(5, 4), example.nn.Dense(5))(x)
        with example.graphc.Session(threads=1, seed=0) as session:
            found.append(example.generate(session, scores, x, np.zeros(example.LENGTH, int), 10))
    np.testing.assert_array_equal(found[0], found[1])
    assert len(set(found[0])) > 1
