"""Factor graphs by the name of their file."""

import os
from pathlib import Path

from gabp.factors import FactorGraph
from gabp.files.bal import read_bal
from gabp.files.errors import FileError
from gabp.files.g2o import read_g2o

_READERS = {".g2o": read_g2o, ".txt": read_bal, ".bal": read_bal}
_COMPRESSED = (".gz", ".bz2")


def read_factor_graph(path: str | os.PathLike[str]) -> FactorGraph:
    """Read a pose graph, ``.g2o``, or a bundle adjustment problem, ``.txt`` or ``.bal``; compressed or not.

    Raises
    ------
    FileError
        The name has another suffix, or the file is damaged.
    """
    name = Path(path).name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    for suffix, reader in _READERS.items():
        if name.endswith(suffix):
            return reader(path)
    raise FileError(f"{path}: must end in .g2o, or in .txt or .bal for bundle adjustment (.gz or .bz2 may follow)")
