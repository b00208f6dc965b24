"""Gamma-MAP of MNE-Python and of CaliBrain, every covariance and its time caught.

Needs NumPy and the package that is asked. Run as a script, it answers for CaliBrain in an
environment of its own: the argument is a pickle of lead field, data, mode and number of iterations,
which the answer replaces.
"""

import pickle
import sys
import time
import types
import warnings
from pathlib import Path


class Caught:
    """Stands before a singular value decomposition: notes the covariance and the CPU time."""

    def __init__(self, svd):
        self.svd, self.seen, self.start = svd, [], time.process_time()

    def __call__(self, cov, **kwargs):
        self.seen.append((time.process_time() - self.start, cov.copy()))
        return self.svd(cov, **kwargs)


def of_mne(factor, data, mode, n):
    """Seconds and covariances of MNE-Python's iterations."""
    from mne.inverse_sparse import _gamma_map as module

    caught = Caught(module._safe_svd)
    module._safe_svd = caught
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module._gamma_map_opt(
                data, factor, 1.0, maxit=n, tol=1e-12, update_mode=mode, verbose="ERROR"
            )
    finally:
        module._safe_svd = caught.svd
    return caught.seen


def of_calibrain(factor, data, mode, n):
    """The same for CaliBrain."""
    from calibrain import source_estimation as module

    whole = module.linalg
    caught = Caught(whole.svd)
    module.linalg = types.SimpleNamespace(svd=caught)
    try:
        module._gamma_map_opt(data, factor, 1.0, maxit=n, tol=1e-12, update_mode=mode)
    finally:
        module.linalg = whole
    return caught.seen


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_bytes(pickle.dumps(of_calibrain(*pickle.loads(path.read_bytes()))))
