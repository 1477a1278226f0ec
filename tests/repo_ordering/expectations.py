"""Dependencies read by hand out of real repositories, for languages that no compiler here speaks.

`expected/NAME.toml` has the archive's name (`repository`) and, for some of its files, every file that each depends on
(`files`). Archives lie with the sample data or in the folder that LODE_REPOSITORIES names.
"""

import os
import pathlib
import tomllib

import pytest

from corpus.repositories import read_repository
from repo_ordering.graph import SourceFile, repository_graph

EXPECTED = pathlib.Path(__file__).parent / "expected"


def compare(name: str, shared_data: pathlib.Path) -> tuple[int, list[tuple[str, str]], list[tuple[str, str]]]:
    """How many edges the listed files have, those of them that the graph lacks, and its own that they do not have.

    An edge that holds only under a condition is not wrong.
    """
    expected = tomllib.loads((EXPECTED / f"{name}.toml").read_text())
    folders = [shared_data / "repos", pathlib.Path(os.environ.get("LODE_REPOSITORIES", "."))]
    archive = next((path for folder in folders if (path := folder / expected["repository"]).is_file()), None)
    if archive is None:
        pytest.skip(f"no {expected['repository']} in the sample data or in LODE_REPOSITORIES")
    rows = [row for row in read_repository(str(archive), "expected") if row["text"] is not None]
    graph = repository_graph([SourceFile(row["path"], row["language"], row["text"]) for row in rows])
    listed = expected["files"]
    assert listed.keys() <= set(graph.files), sorted(listed.keys() - set(graph.files))
    truth = {(source, target) for source, targets in listed.items() for target in targets}
    edges = [edge for edge in graph.edges if edge.source in listed and edge.kind in ("import", "symbol")]
    found = {(edge.source, edge.target) for edge in edges}
    sure = {(edge.source, edge.target) for edge in edges if not edge.guarded}
    return len(truth), sorted(truth - found), sorted(sure - truth)
