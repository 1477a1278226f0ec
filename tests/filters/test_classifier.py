import hashlib
import math
import random

import pytest

from corpus.errors import LodeError
from filters.classifier import POSITIVE, Classifier, FastTextSettings, normalise, train

SMALL = {"dim": 16, "bucket": 1000, "min_count": 1, "passes": 2000}


def sentences(kind: str, count: int) -> list[str]:
    words = {"math": "theorem proof lemma integral matrix", "food": "butter sugar oven recipe flour"}[
        kind
    ].split()
    draw = random.Random(kind)
    return [normalise(" ".join(draw.choices([*words, "the", "of", "and"], k=12))) for _ in range(count)]


def test_normalising_keeps_latex_and_splits_unspaced_scripts():
    assert (
        normalise("The\xa0\\alpha-test\n数学 __label__yes x_1")
        == "the \\alpha - test 数 学 _ _ label _ _ yes x _ 1"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "m.bin")
    train(sentences("math", 100), sentences("food", 100), FastTextSettings(**SMALL), path)
    return path


def test_it_tells_what_it_was_taught(model):
    classifier = Classifier(model)
    assert all(classifier.score(t) > 0.5 for t in sentences("math", 20))
    assert all(classifier.score(t) < 0.5 for t in sentences("food", 20))


def test_scores_are_those_of_fasttext_for_both_labels(model):
    classifier = Classifier(model)
    for text in sentences("math", 5) + sentences("food", 5):
        labels, probabilities = classifier.model.predict([text], k=2)
        expected = dict(zip(labels[0], probabilities[0], strict=True))[POSITIVE]
        assert classifier.score(text) == pytest.approx(min(expected, 1.0), abs=1e-6)


def test_training_is_reproducible_and_never_nan(tmp_path):
    digests = set()
    for number in range(5):
        path = tmp_path / f"{number}.bin"
        train(sentences("math", 10), sentences("food", 10), FastTextSettings(**SMALL), str(path))
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
        assert not math.isnan(Classifier(str(path)).score("theorem"))
    assert len(digests) == 1


def test_errors_are_sentences(tmp_path):
    with pytest.raises(LodeError, match="examples of both kinds"):
        train([], ["x"], FastTextSettings(**SMALL), str(tmp_path / "m.bin"))
    with pytest.raises(LodeError, match="no such model"):
        Classifier(str(tmp_path / "none.bin"))
    (tmp_path / "bad.bin").write_bytes(b"not a model at all")
    with pytest.raises(LodeError, match="not a fastText model"):
        Classifier(str(tmp_path / "bad.bin"))
