"""Pretraining: the model (MLA, DeepSeekMoE, multi-token prediction), its loop, and Hugging Face in and out.

Start at `presets` for shapes, `loop.train` for a run, `hf.export_hf` for a model others can load.
"""

import os

# OpenMP threads that wait by spinning fight each other for the cores as soon as anything else runs on the
# machine: training then slows down tenfold and more. OpenMP reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
