"""Languages of files beside GitHub's Linguist itself: agreement by kind of difference, and microseconds a file.

    python -m benchmarks.languages --ruby RUBY [--data FOLDER] [--folder FOLDER ...]

RUBY is an interpreter that has Linguist (`apt install ruby-github-linguist`, or `gem install github-linguist`). With
`--data` its tables are replaced by the `.yml` files of that folder, so that the same tables are compared whatever the
version of the gem (its classifier keeps the samples it was trained on). Files are those of the sample's repositories
and dependency graphs; `--folder` adds all files under a folder (say `/usr/share`). Files that Linguist takes for
binary, that are empty or that are not UTF-8 are left out.
"""

import argparse
import base64
import collections
import json
import os
import pathlib
import subprocess
import tarfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.record import SAMPLE, record
from corpus.languages import is_vendored, language_of

PEER = r"""
require 'yaml'
require 'json'
folder = ARGV[0]
if folder
  module YAML
    class << self
      alias_method :load_stored, :load_file
      def load_file(path, **options)
        given = File.join(ARGV[0], File.basename(path))
        load_stored(File.exist?(given) ? given : path, **options)
      end
    end
  end
  class File
    class << self
      alias_method :exist_stored?, :exist?
      def exist?(path)
        !path.to_s.end_with?('languages.json') && exist_stored?(path)
      end
    end
  end
  require 'linguist/samples'
  counted = Linguist::Samples.load_samples
  Linguist::Samples.define_singleton_method(:load_samples) { counted.merge('extnames' => {}, 'interpreters' => {}) }
end
require 'linguist'
strategies = Linguist.singleton_class::STRATEGIES
known = Linguist::Samples.cache['languages']
$stdin.each_line do |line|
  name, data = JSON.parse(line)
  blob = Linguist::Blob.new(name, data.unpack1('m'))
  began = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
  candidates, last = [], nil
  if blob.likely_binary? || blob.binary?
    last = 'binary'
  else
    strategies.each do |strategy|
      last = strategy.name.split('::').last
      break if last == 'Classifier'
      found = strategy.call(blob, candidates)
      candidates = found if found.size > 0
      break if found.size == 1
    end
  end
  undecided = candidates.size > 1
  chosen = candidates.first
  if undecided
    able = candidates.select { |language| known.key?(language.name) }
    chosen = Linguist::Classifier.call(blob, able).first
  end
  seconds = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - began
  puts JSON.generate([last, undecided ? candidates.map(&:name) : nil, chosen && chosen.name, blob.vendored?, seconds])
  $stdout.flush
end
"""


def sample_files() -> Iterator[tuple[str, bytes]]:
    for path in [*sorted((SAMPLE / "repos").glob("*.tar.gz")), *sorted((SAMPLE / "graphs").glob("*.tar.gz"))]:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and (opened := archive.extractfile(member)):
                    yield f"{path.name}/{member.name}", opened.read()


def folder_files(folder: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = pathlib.Path(parent, name)
            if not path.is_symlink() and path.is_file() and path.stat().st_size < 1_000_000:
                yield str(path.relative_to(folder)), path.read_bytes()


def compare(files: Iterator[tuple[str, bytes]], peer: subprocess.Popen[str], examples: int) -> dict[str, Any]:
    assert peer.stdin and peer.stdout
    count: collections.Counter[str] = collections.Counter()
    size: collections.Counter[str] = collections.Counter()
    differences: dict[str, list[str]] = collections.defaultdict(list)
    seconds = {"lode": 0.0, "linguist": 0.0}
    for path, data in files:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            count["not_utf8"] += 1
            continue
        if not text:
            continue
        inside = path.split("/", 2)[-1]  # below the archive's own folder
        peer.stdin.write(json.dumps([inside, base64.b64encode(data).decode()]) + "\n")
        peer.stdin.flush()
        strategy, candidates, theirs, vendored, spent = json.loads(peer.stdout.readline())
        if strategy == "binary":
            count["binary_by_linguist"] += 1
            continue
        began = time.perf_counter()
        ours = language_of(inside, text)
        seconds["lode"] += time.perf_counter() - began
        seconds["linguist"] += spent
        kind = "classifier" if candidates else "decided"
        verdict = "same" if ours == theirs else "different"
        count[f"{kind}_{verdict}"] += 1
        size[f"{kind}_{verdict}"] += len(data)
        if ours != theirs:
            differences[f"{kind} by {strategy}: {theirs} -> {ours}"].append(path)
        ours_vendored = is_vendored(inside)
        count[
            f"vendored_{'same' if ours_vendored == vendored else 'lode_only' if ours_vendored else 'linguist_only'}"
        ] += 1
    decided = count["decided_same"] + count["decided_different"]
    return {
        "files": dict(sorted(count.items())),
        "agreement_of_files_decided": round(count["decided_same"] / max(1, decided), 5),
        "agreement_of_bytes_decided": round(
            size["decided_same"] / max(1, size["decided_same"] + size["decided_different"]), 5
        ),
        "microseconds_a_file": {
            name: round(
                1e6 * spent / max(1, decided + count["classifier_same"] + count["classifier_different"]), 1
            )
            for name, spent in seconds.items()
        },
        "differences": {
            kind: [len(paths), *paths[:examples]]
            for kind, paths in sorted(differences.items(), key=lambda item: -len(item[1]))
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ruby", required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--examples", type=int, default=2)
    arguments = parser.parse_args()
    command = [arguments.ruby, "-e", PEER, *([str(arguments.data)] if arguments.data else [])]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    language_of("warm.h", "int a;")
    result = {"sample": compare(sample_files(), peer, arguments.examples)}
    for folder in arguments.folder:
        result[folder.name] = compare(folder_files(folder), peer, arguments.examples)
    print(json.dumps(result, indent=1, ensure_ascii=False))
    record("languages", result, [])


if __name__ == "__main__":
    main()
