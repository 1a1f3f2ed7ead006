"""Train a transformer to predict the next character of Python's manual, beside a model that counts.

    python examples/char_transformer.py [--steps 4000] [--threads N] [--out out]

Data: the topics of ``help()`` that every Python carries (``pydoc_data.topics``), repeated paragraphs dropped; the last
tenth is held out. Prints a progress bar, bits per character of held-out text for the transformer and for an order-5
count model of the same training text, and a sample of generated text; writes ``char_transformer.png`` to the output
folder.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import graphc
from graphc import nn, optim

LENGTH, WIDTH, HEADS, BLOCKS, BATCH = 64, 128, 4, 4, 16
RATE, WARMUP, DROPOUT = 3e-3, 100, 0.05
ORDER = 5
CONTEXT = LENGTH // 2  # characters that precede each one that is scored


def load() -> tuple[str, str]:
    """Training and held-out text. Whole sections stand under several topics, so a paragraph is kept only once."""
    paragraphs = "\n\n".join(topics.values()).split("\n\n")
    text = "\n\n".join({" ".join(paragraph.split()): paragraph for paragraph in reversed(paragraphs)}.values())
    cut = len(text) * 9 // 10
    return text[:cut], text[cut:]


class CountModel:
    """The next character by how often it followed the last ones, contexts of all lengths up to ``order`` mixed.

    With ``n`` the times a context was seen and ``t`` the number of different characters after it,
    ``p(c | context) = (count(c) + t * p(c | shorter context)) / (n + t)``; below the empty context all characters of
    the vocabulary are equally likely (Witten and Bell 1991, method C, interpolated).
    """

    def __init__(self, text: str, order: int, vocabulary: int):
        self.order, self.vocabulary = order, vocabulary
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for place, character in enumerate(text):
            for length in range(min(order, place) + 1):
                self.counts[text[place - length : place]][character] += 1
        self.totals = {context: sum(after.values()) for context, after in self.counts.items()}

    def probability(self, character: str, context: str) -> float:
        """Of a character after the last ``order`` characters."""
        found = 1 / self.vocabulary
        for length in range(min(self.order, len(context)) + 1):
            tail = context[len(context) - length :]
            if tail not in self.totals:  # nor was any longer one
                break
            after = self.counts[tail]
            found = (after[character] + len(after) * found) / (self.totals[tail] + len(after))
        return found

    def bits(self, text: str, start: int) -> float:
        """Mean bits for a character of a text, from place ``start`` on."""
        places = range(start, len(text))
        return -sum(math.log2(self.probability(text[k], text[max(0, k - self.order) : k])) for k in places) / len(
            places
        )


def windows(codes: np.ndarray) -> np.ndarray:
    """Rows of ``LENGTH + 1`` characters, half overlapping: the second half of each is scored, the first is context."""
    return np.lib.stride_tricks.sliding_window_view(codes, LENGTH + 1)[::CONTEXT]


def network(characters: int) -> nn.Layer:
    """From codes of characters [batch, length] to a score for each that could be next."""
    return nn.Sequential(
        nn.Embedding(characters, WIDTH, initializer=nn.initializers.normal(0.1)),
        nn.PositionEmbedding(LENGTH),
        nn.Dropout(DROPOUT),
        *[nn.TransformerBlock(HEADS, causal=True, dropout_rate=DROPOUT) for _ in range(BLOCKS)],
        nn.LayerNorm(),
        nn.Dense(characters, kernel_initializer=nn.initializers.xavier_uniform),
    )


def bits_of(scores: Any, targets: Any, start: int = 0) -> Any:
    """Mean bits per character, of those from place ``start`` on."""
    return nn.softmax_cross_entropy(scores, targets)[:, start:].mean() / math.log(2)


def schedule(steps: int):
    """Learning rate by step: linear warm-up, then half a cosine down to a twentieth."""

    def rate(count: graphc.Tensor) -> graphc.Tensor:
        step = graphc.cast(count, "float32")
        cosine = 0.525 + 0.475 * graphc.cos(step * (math.pi / steps))
        return RATE * graphc.minimum(step / WARMUP, 1.0) * cosine

    return rate


def generate(
    session: graphc.Session, scores: graphc.Tensor, x: graphc.Tensor, prompt: np.ndarray, count: int
) -> np.ndarray:
    """Characters drawn one by one, each from the model's distribution after the ``LENGTH`` before it."""
    rng, codes = np.random.default_rng(0), list(prompt)
    likely = nn.softmax(scores[0, -1] / 0.8)  # a little sharper than what was learned
    for _ in range(count):
        p = session.run(likely, {x: np.array([codes[-LENGTH:]])}).astype(np.float64)
        codes.append(rng.choice(len(p), p=p / p.sum()))
    return np.array(codes[len(prompt) :])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("out"))
    arguments = parser.parse_args(argv)
    if arguments.steps < 1:
        parser.error(f"--steps: expected at least 1, got {arguments.steps}")
    text, held_out = load()
    alphabet = sorted(set(text + held_out))
    codes, held_codes = (np.searchsorted(alphabet, list(part)) for part in (text, held_out))
    rows = windows(held_codes)
    scored = held_out[: CONTEXT * len(rows) + CONTEXT + 1]
    print(f"{len(text):,} characters to learn from, {len(scored):,} held out, {len(alphabet)} different")
    counted = CountModel(text, ORDER, len(alphabet)).bits(scored, CONTEXT + 1)

    # The graph: declared once, before there is any data.
    x = graphc.placeholder("x", ("batch", LENGTH), "int64")
    targets = graphc.placeholder("targets", ("batch", LENGTH), "int64")
    model = network(len(alphabet))
    loss = bits_of(model(x, training=True), targets)
    train = optim.Adam(schedule(arguments.steps), beta2=0.99).minimize(loss)  # small batches: a shorter memory
    scores = model(x)  # the inference graph over the same variables
    bits = bits_of(scores, targets, CONTEXT)

    rng = np.random.default_rng(0)
    losses: list[float] = []
    tested: dict[int, float] = {}
    with graphc.Session(threads=arguments.threads, seed=0) as session:
        start = time.perf_counter()
        session.prepare([loss, train], [x, targets])
        print(f"the training step was compiled or loaded in {time.perf_counter() - start:.2f} s")
        with tqdm(total=arguments.steps, unit="step") as bar:
            for step in range(1, arguments.steps + 1):
                places = rng.integers(0, len(codes) - LENGTH, BATCH)[:, None] + np.arange(LENGTH)
                losses.append(float(session.run([loss, train], {x: codes[places], targets: codes[places + 1]})[0]))
                if step % 500 == 0 or step == arguments.steps:
                    tested[step] = float(session.run(bits, {x: rows[:, :-1], targets: rows[:, 1:]}))
                    bar.set_postfix(bits=f"{losses[-1]:.3f}", held_out=f"{tested[step]:.3f}")
                bar.update()
        sample = generate(session, scores, x, held_codes[:LENGTH], 400)

    prompt, continuation = held_out[:LENGTH], "".join(alphabet[code] for code in sample)
    print(f"a sample, after {prompt!r}:\n{continuation}\n")
    arguments.out.mkdir(parents=True, exist_ok=True)
    plot(losses, tested, counted, arguments.out / "char_transformer.png")
    print(f"wrote char_transformer.png to {arguments.out}/")
    print(f"order-{ORDER} count model: {counted:.3f} bits per held-out character")
    print(f"transformer: {tested[arguments.steps]:.3f} bits per held-out character")


def plot(losses: list[float], tested: dict[int, float], counted: float, path: Path) -> None:
    """Bits per character over the steps."""
    width = max(1, len(losses) // 100)
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
    axes.plot(np.arange(len(smooth)) + width, smooth, label="training, with dropout", alpha=0.7)
    axes.plot(list(tested), list(tested.values()), "o-", label="held out")
    axes.axhline(counted, color="tab:gray", linestyle="--", label=f"order-{ORDER} counts, held out")
    axes.set(xlabel="step", ylabel="bits per character", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
