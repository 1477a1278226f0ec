"""Train the network that tells content from furniture and write `corpus/main_content.npz`.

    python -m benchmarks.train_main_content --peer PYTHON [--gold FOLDER] [--split dev]

Labels, per block of a page, are
- how many of its words are in the label's text, for labelled pages (those of `--split` only, or all);
- for pages of manuals and blogs whose template marks the content (TEMPLATES), whether it stands there;
- elsewhere how many of its words four extractors kept, which are run by PYTHON (see `benchmarks/peers.py`).
Lines that most pages of a site repeat count as furniture, formulas and listings as content. Pages without labels are
at most 25 of each domain of the sample crawl.
"""

import argparse
import dataclasses
import pathlib
import random
from collections import Counter, defaultdict

import numpy as np
import torch
from lxml import etree
from rapidfuzz.distance import LCSseq
from torch import nn

from benchmarks.content_quality import peer, words
from benchmarks.gold_pages import GOLD, labelled_pages
from benchmarks.record import SAMPLE
from corpus import html as page_html
from corpus.blocks import Walk
from corpus.charset import decode
from corpus.macros import Macros
from corpus.main_content import features
from corpus.shelf import Shelf
from corpus.urls import registered_domain
from corpus.warc import read_warc

WEIGHTS = pathlib.Path(page_html.__file__).with_name("main_content.npz")
TEACHERS = {"trafilatura": 0.45, "trafilatura_recall": 0.15, "readability": 0.25, "resiliparse": 0.15}
TEMPLATES = (
    "//div[@role='main']//div[@class='body']", "//main[@id='main-content']",
    "//div[@class='documentwrapper']//div[@class='body']",
    "//div[contains(@class, 'rst-content')]//*[@itemprop='articleBody']",
    "//div[@class='contentContainer']", "//div[@class='contents']",
    "//article[contains(@class, 'md-content__inner')]", "//*[@id='mw-content-text']",
    "//*[contains(@class, 'markdown-body')]", "//*[@itemprop='articleBody']",
    "//*[contains(@class, 'entry-content')]", "//*[contains(@class, 'post-content')]",
    "//*[contains(@class, 'article-body')]", "//*[contains(@class, 'post-body')]",
    "//article[contains(@class, 'bd-article')]", "//*[contains(@class, 's-prose')]",
    "//div[@id='content']//main",
    "//main[contains(@class, 'ptx-main')]//*[contains(@class, 'ptx-content')]",
    "//*[contains(@class, 'ltx_page_content')]",
)  # fmt: skip
PAGES_PER_DOMAIN = 25
MAX_WORDS = 30_000  # of one page that are aligned with a label
BLOCKS = 500  # of one page in a training step
PAGES_PER_STEP = 8
EPOCHS = 10


@dataclasses.dataclass
class Example:
    """Blocks of a page: features (n, f), how likely each is content (n,), how much it counts (n,)."""

    features: np.ndarray
    target: np.ndarray
    weight: np.ndarray


class MarkedWalk(Walk):
    """A walk that remembers which containers are among `marks`."""

    def __init__(self, root: etree._Element, shelf: Shelf, marks: set[etree._Element]):
        self.marks = marks
        self.marked: set[int] = set()
        super().__init__(root, shelf)

    def _block(self, element: etree._Element, *rest: object) -> None:
        if element in self.marks:
            self.marked.add(len(self.parents))
        super()._block(element, *rest)  # type: ignore[arg-type]

    def in_marks(self) -> np.ndarray:
        inside = [
            any(mark <= block.container < self.ends[mark] for mark in self.marked) for block in self.blocks
        ]
        return np.array(inside, np.float32)


class Blocks:
    """A page, walked."""

    def __init__(self, html: str):
        html = page_html.clean(html)
        root = page_html.parse(html)
        self.walk: MarkedWalk | None = None
        if root is None:
            return
        marks = next((found for path in TEMPLATES if (found := root.xpath(path))), [])
        shelf = Shelf(html, Macros(expands=False))
        page_html.shelve(root, html, shelf)
        self.walk = MarkedWalk(root, shelf, set(marks))
        page_html.find_typed(self.walk.blocks, html, shelf)
        self.texts = [shelf.put_back(block.text) for block in self.walk.blocks]
        self.words = [words(text) for text in self.texts]
        weights = [shelf.weight(block.text) for block in self.walk.blocks]
        self.heavy = np.array(weights) > 0
        self.features = features(self.walk, weights) if weights else None

    def found_in(self, text: str) -> np.ndarray:
        """The share of each block's words that is in `text`, in order."""
        ours = [word for block in self.words for word in block][:MAX_WORDS]
        kept = np.zeros(sum(map(len, self.words)), np.float32)
        for step in LCSseq.opcodes(ours, words(text)[:MAX_WORDS]):
            if step.tag == "equal":
                kept[step.src_start : step.src_end] = 1
        ends = np.cumsum([len(block) for block in self.words])
        return np.array(
            [kept[end - len(b) : end].mean() if b else 0 for b, end in zip(self.words, ends, strict=True)]
        )

    def taught(self, teachers: dict[str, str | None]) -> np.ndarray | None:
        """What the extractors kept, by their weights; one that found next to nothing has no say."""
        count = np.array([len(block) for block in self.words])
        votes, total = np.zeros(len(count)), 0.0
        for name, text in teachers.items():
            kept = self.found_in(text) if text else np.zeros(len(count))
            if (kept * count).sum() > 0.02 * count.sum():
                votes, total = votes + TEACHERS[name] * kept, total + TEACHERS[name]
        return votes / total if total else None

    def example(self, target: np.ndarray, scale: float, stress: np.ndarray | None = None) -> Example:
        weight = np.sqrt(np.maximum([len(block) for block in self.words], 1)) * (
            1 if stress is None else stress
        )
        return Example(
            self.features, target.astype(np.float32), (weight / weight.sum() * scale).astype(np.float32)
        )


def labelled(rows: list[dict], pages: list[str], teachers: list[dict[str, str | None]]) -> list[Example]:
    examples = []
    for row, html, texts in zip(rows, pages, teachers, strict=True):
        blocks = Blocks(html)
        if blocks.walk is None or not blocks.walk.blocks:
            continue
        if row["gold"]:
            examples.append(blocks.example(blocks.found_in(row["gold"]) > 0.5, 3.0))
            continue
        target = blocks.taught(texts)
        if target is None:
            continue
        stress = np.full(len(target), 0.5)
        present, absent = (
            [" ".join(words(text)) for text in row[key] or []] for key in ("present", "absent")
        )
        for index, spoken in enumerate(map(" ".join, blocks.words)):
            if len(spoken) > 3 and any(segment in spoken for segment in present):
                target[index], stress[index] = 1, 3
            elif len(spoken) > 2 and any(segment in spoken for segment in absent):
                target[index], stress[index] = 0, 6
        examples.append(blocks.example(target, 2.0, stress))
    return examples


def unlabelled(urls: list[str], pages: list[str], teachers: list[dict[str, str | None]]) -> list[Example]:
    walked = [
        (registered_domain(url), Blocks(html), texts)
        for url, html, texts in zip(urls, pages, teachers, strict=True)
    ]
    walked = [
        (domain, blocks, texts) for domain, blocks, texts in walked if blocks.walk and blocks.walk.blocks
    ]
    lines: dict[str, Counter[str]] = defaultdict(Counter)
    of_domain = Counter(domain for domain, _, _ in walked)
    for domain, blocks, _ in walked:
        lines[domain].update(set(blocks.texts))
    examples = []
    for domain, blocks, texts in walked:
        repeated = np.array([lines[domain][text] > 0.3 * of_domain[domain] for text in blocks.texts])
        repeated &= of_domain[domain] >= 6 and ~blocks.heavy
        if blocks.walk.marked:
            target = blocks.walk.in_marks()
            target[repeated & (np.array(list(map(len, blocks.words))) < 30)] *= 0.2
            examples.append(blocks.example(target, 0.5))
        elif (target := blocks.taught(texts)) is not None:
            target[repeated] *= 0.3
            target[blocks.heavy] = np.maximum(target[blocks.heavy], 0.9)
            examples.append(blocks.example(target, 1.0))
    return examples


class Network(nn.Module):
    """What `corpus.main_content.probabilities` computes; B pages, L blocks, F features, H hidden, N near."""

    def __init__(self, n_features: int, hidden: int = 32, near: int = 24):
        super().__init__()
        self.own = nn.Linear(n_features, hidden)
        self.near = nn.Conv1d(hidden, near, 5, padding=2)
        self.page = nn.Linear(hidden, near, bias=False)
        self.far = nn.Conv1d(near, near, 5, padding=2)
        self.out = nn.Linear(near + hidden, 1)
        self.dropout = nn.Dropout(0.15)

    def forward(self, x_BLF: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        own_BLH = torch.relu(self.own(x_BLF)) * mask_BL[..., None]
        own_BLH = self.dropout(own_BLH)
        page_BN = self.page(own_BLH.sum(1) / mask_BL.sum(1, keepdim=True))
        near_BNL = torch.relu(self.near(own_BLH.transpose(1, 2)) + page_BN[..., None]) * mask_BL[:, None]
        far_BNL = torch.relu(self.far(self.dropout(near_BNL)))
        return self.out(torch.cat([far_BNL.transpose(1, 2), own_BLH], 2))[..., 0]


def train(examples: list[Example], seed: int) -> tuple[Network, np.ndarray, np.ndarray]:
    """The network, and the mean and spread of each feature that its input is scaled with."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    everything = np.concatenate([example.features for example in examples])
    mean, spread = everything.mean(0), everything.std(0) + 0.05
    network = Network(len(mean))
    steps = EPOCHS * -(-len(examples) // PAGES_PER_STEP)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(EPOCHS):
        order = rng.permutation(len(examples))
        for first in range(0, len(order), PAGES_PER_STEP):
            batch = [_window(examples[index], rng) for index in order[first : first + PAGES_PER_STEP]]
            longest = max(len(example.target) for example in batch)
            x = np.zeros((len(batch), longest, len(mean)), np.float32)
            target, weight, mask = np.zeros((3, len(batch), longest), np.float32)
            for row, example in enumerate(batch):
                n = len(example.target)
                x[row, :n] = (example.features - mean) / spread
                target[row, :n], weight[row, :n], mask[row, :n] = example.target, example.weight, 1
            if rng.random() < 0.3:  # names of classes mean nothing on many pages
                x[:, :, rng.random(len(mean)) < 0.1] = 0
            logits = network(torch.from_numpy(x), torch.from_numpy(mask))
            loss = nn.functional.binary_cross_entropy_with_logits(
                logits, torch.from_numpy(target), torch.from_numpy(weight), reduction="sum"
            )
            optimizer.zero_grad()
            (loss / PAGES_PER_STEP).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return network, mean, spread


def _window(example: Example, rng: np.random.Generator) -> Example:
    n = len(example.target)
    start = int(rng.integers(0, n - BLOCKS)) if n > BLOCKS else 0
    part = slice(start, start + BLOCKS)
    return Example(example.features[part], example.target[part], example.weight[part])


def save(network: Network, mean: np.ndarray, spread: np.ndarray) -> None:
    """Write the weights for `corpus.main_content`, the scaling of the input folded into the first layer."""
    of = {name: value.detach().numpy() for name, value in network.named_parameters()}
    own_weight = (of["own.weight"] / spread).T
    near = len(of["near.bias"])
    arrays = {
        "own_weight": own_weight,
        "own_bias": of["own.bias"] - mean @ own_weight,
        "near_weight": of["near.weight"].transpose(2, 1, 0),
        "near_bias": of["near.bias"],
        "page_weight": of["page.weight"].T,
        "far_weight": of["far.weight"].transpose(2, 1, 0),
        "far_bias": of["far.bias"],
        "hidden_weight": of["out.weight"][0, :near],
        "skip_weight": of["out.weight"][0, near:],
        "bias": of["out.bias"][0],
    }
    np.savez_compressed(
        WEIGHTS, **{n: np.asarray(a, np.float32 if "bias" in n else np.float16) for n, a in arrays.items()}
    )


def crawl_pages(folder: pathlib.Path, seed: int) -> tuple[list[str], list[str]]:
    """URLs and HTML of at most PAGES_PER_DOMAIN pages of each domain."""
    found = []
    for path in sorted(folder.glob("*.warc.gz")):
        for page in read_warc(str(path)):
            if page.reason is None and page.url and 500 < len(page.payload) < 400_000:
                found.append((page.url, decode(page.payload, page.charset)))
    random.Random(seed).shuffle(found)
    taken: Counter[str] = Counter()
    kept = []
    for url, html in found:
        domain = registered_domain(url)
        taken[domain] += 1
        if taken[domain] <= PAGES_PER_DOMAIN:
            kept.append((url, html))
    return [url for url, _ in kept], [html for _, html in kept]


def teach(python: pathlib.Path, pages: list[str]) -> list[dict[str, str | None]]:
    by_name = {name: peer(python, name)(pages) for name in TEACHERS}
    return [{name: texts[index] for name, texts in by_name.items()} for index in range(len(pages))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gold", type=pathlib.Path, default=GOLD)
    parser.add_argument("--peer", type=pathlib.Path, required=True)
    parser.add_argument(
        "--split", choices=("dev", "held_out"), help="learn from this half of the labelled pages"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)  # the arrays are small, and more threads only wait for each other
    rows = [row for row in labelled_pages(args.gold) if args.split in (None, row["split"])]
    pages = [decode((args.gold / row["html_path"]).read_bytes()) for row in rows]
    examples = labelled(rows, pages, teach(args.peer, pages))
    print(f"{len(examples)} labelled pages", flush=True)
    urls, pages = crawl_pages(SAMPLE / "web", args.seed)
    examples += unlabelled(urls, pages, teach(args.peer, pages))
    print(f"{len(examples)} pages in all", flush=True)
    save(*train(examples, args.seed))
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
