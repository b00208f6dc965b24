"""What a folder of `esijax benchmark` says of one method beside the others, with its uncertainty.

    uv run python benchmarks/paired.py bench [unrolled]

Mean earth mover's distance over the best other method's with a paired 90 % interval, and Pr(large)
stated -> true with the standard error of the difference, both by bootstrap over data sets.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

DRAWS = 2000


def bins(sums, chosen):
    """Stated and true probability of each bin, over some data sets."""
    count, stated, true = (sums[kind][chosen].sum(axis=0) for kind in ("count", "stated", "true"))
    return np.array([stated, true]) / np.maximum(count, 1e-9)


def main(folder, method="unrolled"):
    """Print both for each scenario."""
    table = pd.read_csv(Path(folder) / "results.csv").pivot_table(
        index=["scenario", "seed"], columns=["method", "metric"], values="value"
    )
    rng = np.random.default_rng(0)
    for scenario in table.index.unique("scenario"):
        rows = table.loc[scenario]
        own, emd = rows[method], rows.xs("emd_mm", axis=1, level="metric")
        sets = rng.integers(0, len(rows), (DRAWS, len(rows)))
        best = emd.drop(columns=method).mean().idxmin()
        a, b = emd[method].to_numpy(), emd[best].to_numpy()
        low, high = np.quantile(a[sets].mean(axis=1) / b[sets].mean(axis=1), (0.05, 0.95))
        print(
            f"{scenario}: EMD over that of {best} {a.mean() / b.mean():.2f} [{low:.2f}, {high:.2f}]"
        )
        n = sum(name.startswith("large_count_") for name in own.columns)
        sums = {
            kind: own[[f"large_{kind}_{k}" for k in range(n)]].fillna(0.0).to_numpy()
            for kind in ("count", "stated", "true")
        }
        at = bins(sums, np.arange(len(rows)))
        error = np.std([np.diff(bins(sums, s), axis=0)[0] for s in sets], axis=0)
        print(
            "  "
            + ", ".join(
                f"{s:.2f} -> {t:.2f} ({e:.2f})" for (s, t), e in zip(at.T, error, strict=True)
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
