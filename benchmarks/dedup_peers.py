"""Other tools that remove near-duplicates, run in interpreters of their own; this file imports nothing of Lode.

    PYTHON benchmarks/dedup_peers.py run TOOL JSONL OUT BANDS ROWS NGRAM WORKERS
    PYTHON benchmarks/dedup_peers.py ids TOOL OUT > ids
    PYTHON benchmarks/dedup_peers.py part TOOL PERMUTATIONS NGRAM texts.jsonl

`run` reads the folder of JSON lines (`id`, `text`) and writes what survives to OUT, in the tool's own format; `ids`
prints the `id` of each survivor. `part` reads texts (JSON strings, one a line), makes signatures of them on one core,
and prints the seconds for shingles and for signatures. What to install, an environment for each:

    pip install 'datatrove[processing]==0.10.1' spacy orjson 'xxhash<4'     (lxml_html_clean with an old pip)
    pip install text-dedup==0.4.0
    pip install py-data-juicer==1.6.1 aiohttp
    pip install rensa==0.5.0 datasketch==2.0.0 xxhash

datatrove, text-dedup and data-juicer run as their documentation says. rensa and datasketch are libraries: shingles,
reading, clusters and writing are the user's, here in the plainest Python that is fast, in one process (WORKERS 1) or
with reading and signatures in several.
"""

import functools
import json
import multiprocessing
import os
import pathlib
import re
import sys
import time

TOOLS = ("datatrove", "text-dedup", "data-juicer", "rensa", "datasketch")
WORDS = re.compile(r"[^\W_]+")
SEED = 42


def shingles(text, n):
    """Set of word n-grams, joined; a text that is shorter is one."""
    words = WORDS.findall(text.lower())
    if len(words) <= n:
        return {" ".join(words)}
    return set(map(" ".join, zip(*(words[start:] for start in range(n)), strict=False)))


def rensa_signatures(sets, permutations):
    from rensa import RMinHash

    return RMinHash.digest_matrix_from_token_sets(sets, permutations, SEED)


def datasketch_signatures(sets, permutations):
    import xxhash
    from datasketch import MinHash

    encoded = ([shingle.encode() for shingle in one] for one in sets)
    return MinHash.bulk(encoded, num_perm=permutations, seed=SEED, hashfunc=xxhash.xxh32_intdigest)


SIGNATURES = {"rensa": rensa_signatures, "datasketch": datasketch_signatures}


def library(tool, source, out, bands, rows, ngram, workers):
    """rensa or datasketch with everything around it that makes it a job."""
    paths = sorted(map(str, pathlib.Path(source).glob("*.jsonl")))
    work = functools.partial(file_keys, tool, bands, rows, ngram)
    if workers > 1:
        with multiprocessing.Pool(workers) as pool:
            parts = pool.map(work, paths, 1)
    else:
        parts = list(map(work, paths))
    parent = {}

    def root(node):
        while (above := parent.get(node, node)) != node:
            parent[node] = node = parent.get(above, above)
        return node

    for band in range(bands):
        first = {}
        for part, keys in enumerate(parts):
            for row, key in enumerate(keys[band]):
                a, b = root((part, row)), root(first.setdefault(key, (part, row)))
                if a != b:
                    parent[max(a, b)] = min(a, b)
    for part, path in enumerate(paths):
        with open(path, "rb") as lines, open(f"{out}/{os.path.basename(path)}", "wb") as kept:
            kept.writelines(line for row, line in enumerate(lines) if root((part, row)) == (part, row))


def file_keys(tool, bands, rows, ngram, path):
    """For each band the keys of all documents of a file."""
    import numpy as np

    with open(path, "rb") as lines:
        sets = [shingles(json.loads(line)["text"], ngram) for line in lines]
    found = SIGNATURES[tool](sets, bands * rows)
    matrix = found.to_rows() if tool == "rensa" else [one.hashvalues for one in found]
    table = np.array(matrix, np.uint64).reshape(len(sets), bands, rows)
    return [[key.tobytes() for key in table[:, band]] for band in range(bands)]


def datatrove(source, out, bands, rows, ngram, workers):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(
        n_grams=ngram, num_buckets=bands, hashes_per_bucket=rows,
        hash_config=HashConfig(hash_fc="xxhash", precision=64),
    )  # fmt: skip
    stages = {
        "signatures": (workers, [JsonlReader(source), MinhashDedupSignature(f"{out}/signatures", config)]),
        "buckets": (bands, [MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config)]),
        "clusters": (1, [MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config)]),
        "filter": (workers, [
            JsonlReader(source), MinhashDedupFilter(f"{out}/remove"), JsonlWriter(f"{out}/kept", compression=None)
        ]),
    }  # fmt: skip
    for name, (tasks, pipeline) in stages.items():
        began = time.perf_counter()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=workers, logging_dir=f"{out}/logs/{name}").run()
        print(json.dumps({name: round(time.perf_counter() - began, 1)}), flush=True)


def text_dedup(source, out, bands, rows, ngram, workers):
    options = {
        "path": "json", "data_files": f"{source}/*.jsonl", "split": "train", "column": "text",
        "cache_dir": f"{out}/cache", "output": f"{out}/kept", "ngram": ngram, "b": bands, "r": rows,
        "num_perm": bands * rows, "hash_func": "xxh3", "num_proc": workers,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    os.execv(sys.executable, [sys.executable, "-m", "text_dedup.minhash", *words])


def data_juicer(source, out, bands, rows, ngram, workers):
    settings = {
        "project_name": "bench", "dataset_path": source, "export_path": f"{out}/kept.jsonl", "np": workers,
        "open_tracer": False, "use_checkpoint": False, "use_cache": False, "work_dir": out,
        "process": [{"document_minhash_deduplicator": {
            "tokenization": "space", "window_size": ngram, "lowercase": True,
            "num_permutations": bands * rows, "num_bands": bands, "num_rows_per_band": rows,
        }}],
    }  # fmt: skip
    path = f"{out}/settings.yaml"
    with open(path, "w") as file:
        json.dump(settings, file)  # YAML is a superset
    program = os.path.join(os.path.dirname(sys.executable), "dj-process")
    os.execv(program, [program, "--config", path])


def run(tool, source, out, bands, rows, ngram, workers):
    os.makedirs(out, exist_ok=True)
    numbers = tuple(map(int, (bands, rows, ngram, workers)))
    if tool in SIGNATURES:
        library(tool, source, out, *numbers)
    else:
        {"datatrove": datatrove, "text-dedup": text_dedup, "data-juicer": data_juicer}[tool](
            source, out, *numbers
        )


def ids(tool, out):
    if tool == "text-dedup":
        from datasets import load_from_disk

        found = load_from_disk(f"{out}/kept")["id"]
    else:
        pattern = {"datatrove": "kept/*.jsonl", "data-juicer": "kept.jsonl"}.get(tool, "*.jsonl")
        found = []
        for path in sorted(pathlib.Path(out).glob(pattern)):
            with open(path, encoding="utf-8") as lines:
                found += [json.loads(line)["id"] for line in lines]
    print("\n".join(found))


def part(tool, permutations, ngram, path):
    with open(path, encoding="utf-8") as lines:
        texts = [json.loads(line) for line in lines]
    spent = {}
    for warm in (True, False):
        chosen = texts[:20] if warm else texts
        began = time.perf_counter()
        sets = [shingles(text, int(ngram)) for text in chosen]
        between = time.perf_counter()
        SIGNATURES[tool](sets, int(permutations))
        spent = {"shingles": between - began, "signatures": time.perf_counter() - between}
    print(json.dumps(spent))


if __name__ == "__main__":
    {"run": run, "ids": ids, "part": part}[sys.argv[1]](*sys.argv[2:])
