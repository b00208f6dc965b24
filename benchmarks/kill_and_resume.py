"""Kill -9 at random moments, go on in new processes: `uv run python benchmarks/kill_and_resume.py`.

A line for each iterative method: kills, wrong answers, refused checkpoints, most chunks that a
kill cost, left-over files. Twenty kills take about a minute a method; the number of kills and
names of methods may follow. What the first process compiles the others load.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import killed


def main(kills: int = 20, names: tuple[str, ...] = killed.NAMES) -> int:
    """Print the table; 1 where an answer is wrong or a checkpoint was not taken up."""
    worst = 0
    print(f"{'method':26}{'kills':>7}{'wrong':>7}{'refused':>9}{'lost':>6}{'left':>6}", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as programs:
            os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
            os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
            found = killed.survived(name, Path(folder), kills)
        row = f"{found.kills:7}{found.wrong:7}{found.refused:9}{found.lost:6}{found.leftovers:6}"
        print(f"{name:26}{row}", flush=True)
        worst |= found.wrong > 0 or found.refused > 0 or found.lost > 1
    return int(worst)


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(int(given[0]) if given else 20, tuple(given[1:]) or killed.NAMES))
