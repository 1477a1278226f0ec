"""Questions made by hand, and a model that has learnt its answers by heart, through the command."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from corpus.errors import LodeError
from corpus.schema import FILE_SPANS
from corpus.tokens import TextTokenizer, train_tokenizer
from jobs import cli_evaluate, questions
from pretrain.checkpoint import State, save_checkpoint
from pretrain.model import Transformer
from pretrain.presets import model_preset
from repo_ordering.rows import DEPENDENCY

SHAPES = (
    "# shop/shapes.py\ndef outline(width):\n    return width * 3\n\ndef blend(one, other):\n    return one\n"
)
MAIN = "# shop/main.py\nimport shapes\n\nred = shapes.blend(1, 2)\nedge = shapes.outline(red)\nprint(edge, red)\n"
HOSTILE = "# shop/odd.py\nmark = '<｜fim▁hole｜>' + \"<｜end▁of▁sentence｜>\"\r\nnaïve = '名🜚'"
FILES = [
    ("shop/shapes.py", SHAPES),
    ("shop/main.py", MAIN),
    ("shop/odd.py", HOSTILE),
    ("shop/empty.py", "# shop/empty.py\n"),
]
WINDOW = 192


def repository(files=FILES, name="shop") -> dict:
    """A row as `lode order` writes it."""
    spans, end = [], 0
    for path, text in files:
        spans.append({"path": path, "language": "Python", "start": end, "end": end + len(text)})
        end += len(text)
    edge = {
        "source": "shop/main.py",
        "target": "shop/shapes.py",
        "kind": "import",
        "guarded": False,
        "confidence": 1.0,
    }
    return {"id": name, "text": "".join(text for _, text in files), "language": "Python", "path": None,
            "files": spans, "dependencies": [edge]}  # fmt: skip


SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "text", "language", "path")]
    + [("files", FILE_SPANS), ("dependencies", pa.list_(DEPENDENCY))]
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder with its tokenizer, repositories and a run whose model has learnt every answer by heart."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tokenizer").mkdir()
    path = folder / "tokenizer" / "tokenizer.json"
    train_tokenizer([SHAPES, MAIN, HOSTILE] * 3, 400).save(str(path))
    words = TextTokenizer.load(str(path))
    (folder / "repositories").mkdir()
    pq.write_table(pa.Table.from_pylist([repository()], SCHEMA), folder / "repositories" / "part-0.parquet")
    asked = every_question(words)
    texts = [(question.prompts[0], [*question.gold, words.special["eos"]]) for question in asked]
    config = model_preset(
        "tiny", vocab_size=words.vocabulary_size, max_position_embeddings=256, n_routed_experts=0,
        num_experts_per_tok=0, n_shared_experts=0, first_k_dense_replace=0, num_nextn_predict_layers=1,
        num_hidden_layers=2, initializer_range=0.05,
    )  # fmt: skip
    model = by_heart(Transformer(config), texts)
    about = {"special_tokens": words.special, "tokenizer_fingerprint": words.fingerprint}
    state = State(1, 1, {"model": config.model_dump(mode="json")}, about, "", {})
    save_checkpoint(folder / "run" / "checkpoints", state, {"model.safetensors": model.state_dict()}, 1)
    return folder


def every_question(words: TextTokenizer) -> list[questions.Asked]:
    rows = [repository()]
    asked = [questions.ask_gap(gap, words, WINDOW, False) for gap in questions.gaps(rows, WINDOW, 50)]
    asked += [questions.ask_line(line, words, WINDOW) for line in questions.lines(rows, WINDOW, 50)]
    return [question for question in asked if question]


def by_heart(model: Transformer, texts: list[tuple[list[int], list[int]]]) -> Transformer:
    """Trained on the answers until it writes them."""
    model.init_weights(0)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    longest = max(len(prompt) + len(gold) for prompt, gold in texts)
    tokens = torch.zeros(len(texts), longest, dtype=torch.int64)
    targets = torch.full((len(texts), longest), -100)
    for i, (prompt, gold) in enumerate(texts):
        tokens[i, : len(prompt) + len(gold)] = torch.tensor(prompt + gold)
        targets[i, len(prompt) - 1 : len(prompt) + len(gold) - 1] = torch.tensor(gold)
    for _ in range(400):
        logits = model.logits(model(tokens)[0])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        if loss < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    return model.eval()


@pytest.fixture(scope="module")
def words(work) -> TextTokenizer:
    return TextTokenizer.load(str(work / "tokenizer" / "tokenizer.json"))


def lode(*arguments: str):
    """The commands of this module alone, in this process."""
    app = typer.Typer()
    cli_evaluate.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_what_was_learnt_by_heart_is_written_exactly(work):
    there = work / "repositories"
    done = lode(
        "evaluate", work / "run", "--infill", there, "--cross-file", there, "--window", WINDOW, "--json", "-q"
    )
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert {of["kind"]: of["holes"] for of in found["infill"] if of["language"] == "all"} == {
        "line": 3, "lines": 3, "span": 3,
    }  # fmt: skip
    for of in found["infill"]:
        assert of["exact"] == of["high"] == 1.0 and 0.43 < of["low"] < 1 and of["loss"] < 0.1
    everything, python = found["cross_file"]
    assert (everything["language"], python["language"], everything["lines"]) == ("all", "Python", 2)
    ways = everything["with_dependencies"], everything["file_alone"]
    assert ways[0]["exact"] == ways[0]["similarity"] == 1.0
    # It has not seen the same lines without the files before them.
    assert ways[1]["loss"] > ways[0]["loss"]
    assert everything["loss_saved"] == pytest.approx(ways[1]["loss"] - ways[0]["loss"])


def test_a_table_for_a_reader(work):
    done = lode("evaluate", work / "run", "--infill", work / "repositories", "--window", WINDOW, "-q")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:3] == ["hole", "language", "exact"]
    assert lines[1][:3] == ["line", "all", "100.0%"]


def test_a_model_that_learnt_nothing(work, words, tmp_path):
    """Another seed and no training: no hole is filled, and the loss is about that of chance."""
    config = model_preset("tiny", vocab_size=words.vocabulary_size, max_position_embeddings=256)
    model = Transformer(config)
    model.init_weights(1)
    about = {"special_tokens": words.special, "tokenizer_fingerprint": words.fingerprint}
    state = State(1, 1, {"model": config.model_dump(mode="json")}, about, "", {})
    save_checkpoint(tmp_path / "checkpoints", state, {"model.safetensors": model.state_dict()}, 1)
    done = lode("evaluate", tmp_path, "--infill", work / "repositories", "--tokenizer",
                work / "tokenizer" / "tokenizer.json", "--json", "-q")  # fmt: skip
    for of in json.loads(done.stdout)["infill"]:
        assert of["exact"] == of["low"] == 0 and of["high"] > 0.5
        assert of["loss"] == pytest.approx(torch.tensor(words.vocabulary_size).log().item(), rel=0.1)


def test_a_prompt_by_hand(words):
    special = words.special
    gap = questions.Gap(0, "line", "Python", "# a.py\n", "x = 1\n", "\nz = 3\n", "y = 2")
    ids = lambda text: words.encode(text).tolist()
    asked = questions.ask_gap(gap, words, 200, spm=False)
    assert asked.prompts == [
        [special["bos"], *ids("# a.py\n"), special["fim_begin"], *ids("x = 1\n"), special["fim_hole"],
         *ids("\nz = 3\n"), special["fim_end"]]
    ]  # fmt: skip
    assert asked.gold == ids("y = 2")
    asked = questions.ask_gap(gap, words, 200, spm=True)
    assert asked.prompts == [
        [special["bos"], *ids("# a.py\n"), special["fim_begin"], special["fim_hole"], *ids("\nz = 3\n"),
         special["fim_end"], *ids("x = 1\n")]
    ]  # fmt: skip


@given(
    prefix=st.text(max_size=60), suffix=st.text(max_size=60), gold=st.text(min_size=1, max_size=9),
    window=st.integers(20, 90), spm=st.booleans(),
)  # fmt: skip
def test_a_prompt_fits_its_window(words, prefix, suffix, gold, window, spm):
    whole = questions.ask_gap(
        questions.Gap(0, "span", "C", "// a.c\n", prefix, suffix, gold), words, 10_000, spm
    )
    asked = questions.ask_gap(
        questions.Gap(0, "span", "C", "// a.c\n", prefix, suffix, gold), words, window, spm
    )
    answer = questions.answer_tokens(whole.gold)
    if asked is None:
        assert window < len(words.encode("// a.c\n")) + 4 + answer
        return
    (ids,), (all_ids,) = asked.prompts, whole.prompts
    assert len(ids) <= window - answer
    # Full to the last token, unless everything is there.
    assert len(ids) == min(window - answer, len(all_ids))
    begin, hole, end = (words.special[role] for role in ("fim_begin", "fim_hole", "fim_end"))
    before, after = (ids[ids.index(end) + 1 :] if spm else ids[ids.index(begin) + 1 : ids.index(hole)],
                     ids[ids.index(hole) + 1 : ids.index(end)])  # fmt: skip
    prefix_ids, suffix_ids = words.encode(prefix).tolist(), words.encode(suffix).tolist()
    assert before == prefix_ids[len(prefix_ids) - len(before) :] and after == suffix_ids[: len(after)]
    # The side that is cut is not the shorter one.
    if len(before) < len(prefix_ids) and len(after) < len(suffix_ids):
        assert abs(len(before) - len(after)) <= 1


def test_lines_with_and_without_what_they_need(words):
    line = questions.lines([repository()], 400, 9)
    assert sorted(each.gold for each in line) == ["edge = shapes.outline(red)", "red = shapes.blend(1, 2)"]
    one = next(each for each in line if each.gold.startswith("red"))
    bos, head = words.special["bos"], words.encode("# shop/main.py\nimport shapes\n\n").tolist()
    asked = questions.ask_line(one, words, 400)
    assert asked.prompts == [[bos, *words.encode(SHAPES).tolist(), *head], [bos, *head]]
    assert asked.gold == words.encode("red = shapes.blend(1, 2)\n").tolist()
    needed = len(asked.prompts[0]) + questions.answer_tokens(asked.gold)
    assert questions.ask_line(one, words, needed) == asked


@given(window=st.integers(20, 260), pick=st.integers(0, 1), filler=st.integers(0, 40), gap=st.integers(0, 40))
def test_a_line_fits_its_window(words, window, pick, filler, gap):
    """Where there is little room, the end of its own file and what follows from the declaration stay."""
    own = MAIN.replace("import shapes\n", "import shapes\n" + "x = 1\n" * filler)
    shapes = SHAPES.replace("def blend", "y = 2\n" * gap + "def blend")
    other = "# shop/other.py\nother = 5\n"
    row = repository([("shop/shapes.py", shapes), ("shop/other.py", other), ("shop/main.py", own)])
    row["dependencies"].append(row["dependencies"][0] | {"target": "shop/other.py"})
    line = sorted(questions.lines([row], window, 9), key=lambda line: line.gold)[pick]
    name = ("outline", "blend")[pick]
    assert name in line.gold
    asked = questions.ask_line(line, words, window)
    answer = questions.answer_tokens(words.encode(line.gold + "\n").tolist())
    if asked is None:
        assert window - answer < 60
        return
    both, alone = [words.decode(ids[1:]) for ids in asked.prompts]
    assert all(len(ids) <= window - answer for ids in asked.prompts)
    assert all(ids[0] == words.special["bos"] for ids in asked.prompts)
    assert alone.startswith("# shop/main.py\n") and both.endswith(alone)
    assert own[: own.index(line.gold)].endswith(alone.removeprefix("# shop/main.py\n"))
    before = both.removesuffix(alone)
    assert before.startswith("# shop/shapes.py\n")
    if before not in (shapes + other, shapes):
        cut = before.removeprefix("# shop/shapes.py\n")
        assert shapes[shapes.index(f"def {name}") :].startswith(cut) or (
            shapes.endswith(cut) and f"def {name}" in cut
        )
        # Cut only where the window is full.
        assert len(asked.prompts[0]) == window - answer


def test_the_same_questions_whatever_the_order(words):
    rows = [repository(name=str(i)) for i in range(9)]
    for make in (questions.gaps, questions.lines):
        asked = make(rows, 400, 5)
        assert asked == make(rows[::-1], 400, 5) and len(asked) in (5, 15)
        # Fewer are some of the more.
        assert set(map(repr, make(rows, 400, 2))) < set(map(repr, asked))


def test_only_what_was_held_out(tmp_path):
    path = tmp_path / "part-0.parquet"
    pq.write_table(pa.Table.from_pylist([repository(name="a"), repository(name="b")], SCHEMA), path)
    (tmp_path / "_lode.json").write_text(json.dumps({"documents": {"code": ["b"], "web": []}}))
    only = questions.held_out(str(tmp_path))
    assert only == {"b"} and [row["id"] for row in questions.documents(str(path), only)] == ["b"]
    with pytest.raises(LodeError, match="none of its documents"):
        list(questions.documents(str(path), {"c"}))
    (tmp_path / "_lode.json").write_text("{}")
    assert questions.held_out(str(tmp_path)) is None


def test_files_without_repositories(work, tmp_path):
    path = tmp_path / "files.parquet"
    pq.write_table(pa.table({"id": ["1", "2"], "text": [MAIN, ""], "path": ["a.py", "b.py"]}), path)
    asked = questions.gaps(questions.documents(str(path), None), 200, 9)
    assert {gap.kind for gap in asked} == {"line", "lines", "span"}
    assert {(gap.language, gap.head) for gap in asked} == {("Python", "")}
    with pytest.raises(LodeError, match="lode order"):
        questions.lines(questions.documents(str(path), None), 200, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is nothing to measure"),
        (["--infill", "nowhere"], "nowhere"),
        (["--infill", "{work}/repositories", "--tokenizer", "{other}"], "not the tokenizer that"),
        (["--shards", "{work}/repositories"], "_lode.json"),
    ],
)
def test_mistakes(work, tmp_path, options, message):
    other = tmp_path / "tokenizer.json"
    train_tokenizer(["other words " * 9], 300).save(str(other))
    done = lode(
        "evaluate", work / "run", *(option.format(work=work, other=other) for option in options), "-q"
    )
    assert isinstance(done.exception, LodeError) and message in str(done.exception)


def test_generation(work, words):
    plain = json.loads(
        lode("generate", work / "run", "import ", "--temperature", 0, "--tokens", 12, "--json").stdout
    )
    fast = json.loads(
        lode("generate", work / "run", "import ", "--speculative", "--tokens", 12, "--json").stdout
    )
    assert fast["tokens"] == plain["tokens"] and fast["text"] == words.decode(plain["tokens"])
    assert (
        0 <= fast["accepted"] <= fast["drafted"] and fast["acceptance"] == fast["accepted"] / fast["drafted"]
    )
    shown = lode("generate", work / "run", "import ", "--temperature", 0, "--tokens", 12).stdout
    assert shown.startswith("import ")
    drawn = [lode("generate", work / "run", "import ", "--seed", 5).stdout for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_a_prompt_longer_than_the_model(work):
    done = lode("generate", work / "run", "word " * 400, "--tokens", 4, "--temperature", 0, "--json")
    assert done.exit_code == 0 and "tokens of the prompt are left out" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speculative", "--temperature", 0.5], "leave --temperature out"),
        (["--temperature", "inf"], "expected a number"),
        (["--tokens", 4000], "256 positions"),
    ],
)
def test_mistakes_in_generation(work, options, message):
    done = lode("generate", work / "run", "x", "--device", "cpu", *options)
    assert isinstance(done.exception, LodeError) and message in str(done.exception)
