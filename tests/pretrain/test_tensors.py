"""Safetensors written and read a piece at a time, and what that saves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pretrain import tensors
from pretrain.errors import TrainingError
from pretrain.tensors import Entry, Reader, write_file, write_folder


def entry(name: str, value: torch.Tensor) -> Entry:
    return Entry(name, value.dtype, tuple(value.shape), lambda: value.chunk(2) if value.ndim else [value])


def entries() -> list[Entry]:
    return [entry(name, value) for name, value in VALUES.items()]


VALUES = {
    "a": torch.arange(24.0).view(4, 6),
    "b": torch.randn(3, 5).bfloat16(),
    "c": torch.randn(7, 3).to(torch.float8_e4m3fn),
    "d": torch.tensor(5),
    "e": torch.empty(0, 4),
    "f": torch.randn(2, 5, 3),
}


def test_safetensors_reads_what_is_written(tmp_path):
    write_file(
        tmp_path / "x.safetensors",
        entries(),
    )
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == VALUES.keys()
    for name, value in VALUES.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name].float(), value.float())


def test_a_folder_is_read_as_a_whole_or_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "FILE_BYTES", 100)
    shown = []
    write_folder(tmp_path, entries(), lambda *x: shown.append(x))
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    total = sum(value.nbytes for value in VALUES.values())
    assert shown[-1] == (total, total) and [x[0] for x in shown] == sorted(x[0] for x in shown)
    reader = Reader(tmp_path)
    assert set(reader) == VALUES.keys() and "zzz" not in reader
    assert torch.equal(reader.read("a"), VALUES["a"])
    assert torch.equal(reader.read("f", 1), VALUES["f"][1])
    assert torch.equal(reader.read("f", 1, slice(2, 4)), VALUES["f"][1, 2:4])
    assert reader.read("d") == 5 and reader.read("e").shape == (0, 4)
    assert reader.shape("b") == (3, 5) and reader.dtype("c") == torch.float8_e4m3fn


def test_what_promises_more_than_it_gives_is_a_fault(tmp_path):
    with pytest.raises(ValueError, match="promised"):
        write_file(tmp_path / "x", [Entry("a", torch.float32, (4, 4), lambda: [torch.zeros(3, 4)])])


HEADERS = {
    "a list": b"[]",
    "no offsets": b'{"a": {"dtype": "F32", "shape": [4]}}',
    "a negative shape": b'{"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}',
    "a true shape": b'{"a": {"dtype": "F32", "shape": [true, 4], "data_offsets": [0, 16]}}',
    "another size": b'{"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}',
    "a hole": b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}',
    "a deep header": b'{"a":' + b"[" * 100_000,
}


def broken(folder: Path, what: str) -> None:
    save_file({"a": torch.zeros(4)}, folder / "model.safetensors")
    good = (folder / "model.safetensors").read_bytes()
    if what == "cut short":
        (folder / "model.safetensors").write_bytes(good[:-4])
    elif what == "header too long":
        (folder / "model.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + good[8:])
    elif what == "overlap":
        header = {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in "ab"}
        text = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    elif what in HEADERS:
        text = HEADERS[what]
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    elif what == "empty":
        (folder / "model.safetensors").write_bytes(b"")
    elif what == "two of a name":
        save_file({"a": torch.zeros(4)}, folder / "more.safetensors")
        index = {"weight_map": {"a": "model.safetensors", "b": "more.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif what == "an index of nothing":
        (folder / "model.safetensors.index.json").write_text("[1]")
    elif what == "a deep index":
        (folder / "model.safetensors.index.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    "what",
    [
        *HEADERS,
        "cut short",
        "header too long",
        "overlap",
        "empty",
        "two of a name",
        "an index of nothing",
        "a deep index",
    ],
)
def test_broken_folders_are_one_sentence(tmp_path, what):
    broken(tmp_path, what)
    with pytest.raises(TrainingError, match=r"safetensors"):
        Reader(tmp_path)


MEASURE = """
import sys
from pretrain.hf import export_hf, import_hf

def most():
    # ru_maxrss would be that of the process that started this one.
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

source, out, dtype = sys.argv[1:]
before = most()
import_hf(source, out + "/run")
export_hf(out + "/run/checkpoints/step-00000000", out + "/hf", dtype=dtype)
print((most() - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
@pytest.mark.parametrize("dtype", ["bfloat16", "fp8"])
def test_converting_needs_memory_for_a_tensor_not_for_the_model(tmp_path, dtype):
    """350 MB of weights go both ways in a fraction of that: 21 and 30 MB when this was written."""
    from pretrain.checkpoint import State, save_checkpoint
    from pretrain.hf import export_hf
    from pretrain.model import Transformer
    from pretrain.presets import model_preset

    config = model_preset(
        "debug", vocab_size=4096, num_hidden_layers=8, n_routed_experts=32, num_nextn_predict_layers=0
    )
    model = Transformer(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    state = State(0, 0, {"model": config.model_dump(mode="json")}, {}, "", {})
    made = save_checkpoint(tmp_path / "checkpoints", state, {"model.safetensors": model.state_dict()}, keep=1)
    size = sum(p.nbytes for p in model.parameters()) >> 20
    assert size > 350
    export_hf(made, tmp_path / "source")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "source"), str(tmp_path), dtype]
    root = Path(__file__).parents[2]
    found = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert int(found.stdout) < size / 6, found.stdout
