"""The oracle's reader and score are the benchmark's, which is no package of the distribution."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))
