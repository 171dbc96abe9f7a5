"""Writes tests/golden/groups.parquet: 3,000 rows in 12 row groups, as datasets on the Hub are stored. `python record_parquet.py`."""

import hashlib
from pathlib import Path

import pyarrow
import pyarrow.parquet

OUT = Path(__file__).parents[2] / "tests" / "golden" / "groups.parquet"


def main() -> None:
    """Answers differ from row to row, so that nothing can be guessed from a neighbour."""
    digest = [hashlib.sha256(str(i).encode()).hexdigest()[:24] for i in range(3000)]
    table = pyarrow.table({"prompt": [f"What is {i}?" for i in range(3000)], "completion": digest, "number": list(range(3000))})
    pyarrow.parquet.write_table(table, OUT, row_group_size=250, compression="zstd")


if __name__ == "__main__":
    main()
