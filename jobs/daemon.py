"""pyspark's daemon on this machine, with Lode's modules imported once: the workers that it forks share them.

Every stage of Spark may fork workers anew; importing numpy, pyarrow and what a stage's functions need would cost each
of them a second.
"""

import pandas as pd
import pyarrow.parquet as pq
from pyspark.daemon import manager

import jobs.pipeline

__all__ = ["jobs", "manager", "pd", "pq"]

if __name__ == "__main__":
    manager()
