"""The columns of repository documents, of the file rows they are made of, and of the accounts beside them."""

import pyarrow as pa

from corpus.schema import FILE_SPANS, REPOSITORY, with_verdict

DEPENDENCY = pa.struct(
    [
        ("source", pa.string()),
        ("target", pa.string()),
        ("kind", pa.string()),
        ("guarded", pa.bool_()),
        ("confidence", pa.float64()),
    ]
)
ORDERED = pa.schema(
    [
        *REPOSITORY,
        ("edges", pa.int32()),
        ("edges_satisfied", pa.float64()),
        ("order", pa.string()),
        ("dependencies", pa.list_(DEPENDENCY)),
        ("unparsed", pa.list_(pa.struct([("path", pa.string()), ("reason", pa.string())]))),
        ("stubs", FILE_SPANS),
        ("sample", pa.string()),
        ("samples", pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))),
        ("edges_in_sample", pa.float64()),
        ("skeletons", FILE_SPANS),
        ("edges_by_skeleton", pa.float64()),
    ]
)
JUDGED = with_verdict(ORDERED.append(pa.field("size", pa.int64())))  # the size of a file that is dropped here
# What is read of a file's row; the last three are of files that an earlier stage dropped.
FILE_ROW = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "text", "source", "language", "repository", "path")),
        ("size", pa.int64()),
        ("dropped_at", pa.string()),
        ("dropped_for", pa.string()),
        ("stub", pa.bool_()),
    ]
)
ACCOUNT = pa.schema(
    [
        ("source", pa.string()),
        ("repository", pa.string()),
        ("files", pa.int64()),  # all, whatever became of them: those kept and those dropped
        ("kept", pa.int64()),
        (
            "dropped",
            pa.list_(
                pa.struct(
                    [
                        ("stage", pa.string()),
                        ("reason", pa.string()),
                        ("files", pa.int64()),
                        ("bytes", pa.int64()),  # as they were read
                        ("edges_lost", pa.int64()),
                    ]
                )
            ),
        ),
        ("edges", pa.int64()),  # dependencies, of the files that came to this stage, on any file
        ("edges_lost", pa.int64()),  # of these, on a file that an earlier stage dropped
        (
            "lost",  # the first of them
            pa.list_(pa.struct([(name, pa.string()) for name in ("source", "target", "stage", "reason")])),
        ),
        (
            "decision",
            pa.string(),
        ),  # kept, stubs (written for what is lost), files_dropped, dropped (all of it)
        ("stubs", pa.int64()),
    ]
)
DROPS = ("stage", "reason", "files", "bytes", "edges_lost")
