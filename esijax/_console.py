"""What the command line prints on: wide enough for a table where there is no terminal."""

import os
import sys

from rich.console import Console


def console() -> Console:
    """Make a console; 100 columns where the output goes into a file or a pipe."""
    narrow = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=100 if narrow else None, log_path=False)
