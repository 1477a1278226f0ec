"""Text to token files by other tools, run in an interpreter of their own; this file imports nothing of Lode.

    PYTHON benchmarks/packing_peers.py datatrove TEXTS OUT TOKENIZER EOS
    PYTHON benchmarks/packing_peers.py megatron TEXTS OUT TOKENIZER EOS
    PYTHON benchmarks/packing_peers.py count TOOL OUT

TEXTS is a folder of `part-*.parquet` and `texts.jsonl` with the same documents, TOKENIZER a folder with a
tokenizer.json and a tokenizer_config.json. `count` prints what a tool has written: documents and tokens, as JSON.

    pip install 'datatrove[io,processing]==0.10.1' tokenizers==0.23.3 orjson                           (datatrove)
    pip install megatron-core==0.16.1 transformers==5.23.0 tokenizers==0.23.3 'torch>=2.11,<2.14'       (megatron)

datatrove reads Parquet, tokenizes and shuffles in one task, and merges and shuffles in a second step, all as it comes.
The package megatron-core does not hold Megatron-LM's tools/preprocess_data.py, so its path is walked with the classes
that the tool uses, as its options describe it: --tokenizer-type HuggingFaceTokenizer --append-eod, a line of JSON
at a time. The tool's worker processes are left out: on one core they only add to the time, for every document's
tokens are pickled from one process to another.
"""

import json
import os
import sys


def datatrove(texts, out, tokenizer, eos):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger

    read = ParquetReader(texts, glob_pattern="part-*.parquet")
    encode = DocumentTokenizer(f"{out}/tokens", f"{tokenizer}/tokenizer.json", eos_token=eos, seed=0)
    merge = DocumentTokenizerMerger(f"{out}/tokens", f"{out}/merged", save_filename="merged", seed=0)
    for name, steps in (("tokenize", [read, encode]), ("merge", [merge])):
        LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=f"{out}/logs/{name}").run()


def megatron(texts, out, tokenizer, eos):
    from argparse import Namespace

    from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder
    from megatron.core.tokenizers.text.utils.build_tokenizer import build_tokenizer

    settings = {
        "tokenizer_type": "HuggingFaceTokenizer",
        "tokenizer_model": tokenizer,
        "tokenizer_metadata": None,
    }
    settings |= {"vocab_file": None, "merge_file": None, "tokenizer_special_tokens": None}
    settings |= {"tokenizer_hf_use_fast": True, "tokenizer_hf_include_special_tokens": False}
    encoder = build_tokenizer(Namespace(**settings, trust_remote_code=False))
    os.makedirs(out, exist_ok=True)
    builder = IndexedDatasetBuilder(f"{out}/text.bin", dtype=DType.optimal_dtype(encoder.vocab_size))
    with open(f"{texts}/texts.jsonl", encoding="utf-8") as lines:
        for line in lines:
            ids = encoder.tokenize(json.loads(line)["text"])
            if ids:
                ids.append(encoder.eod)
                builder.add_document(ids, [len(ids)])
    builder.finalize(f"{out}/text.idx")


def count(tool, out):
    import numpy as np

    if tool == "datatrove":
        ends = np.fromfile(f"{out}/merged/000_merged.ds.index", np.uint64)
        found = {"documents": len(ends), "tokens": int(ends[-1])}
    else:
        # The index: 18 bytes of header, the number of sequences, that of documents, the sequences' lengths.
        sequences = int(np.fromfile(f"{out}/text.idx", np.uint64, 1, offset=18)[0])
        lengths = np.fromfile(f"{out}/text.idx", np.int32, sequences, offset=34)
        found = {"documents": len(lengths), "tokens": int(lengths.sum())}
    print(json.dumps(found))


if __name__ == "__main__":
    {"datatrove": datatrove, "megatron": megatron, "count": count}[sys.argv[1]](*sys.argv[2:])
