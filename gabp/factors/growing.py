"""Arrays that rows are appended to."""

from typing import Any

import numpy as np


class GrowingArray:
    """An array with room for more rows: appending takes constant time per row, on average.

    Parameters
    ----------
    rows : ndarray, shape (m, …)
        Becomes the array's own where there are any.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._room, self._count = rows, len(rows)

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> np.ndarray:
        """The rows so far, a view; writing into it changes the array."""
        return self._room[: self._count]

    def append(self, rows: Any, count: int | None = None) -> None:
        """Add rows at the end, ``count`` times the same one if given. Views that were taken before keep their rows."""
        end = self._count + (len(rows) if count is None else count)
        if end > len(self._room):
            room = np.empty((max(end, 2 * self._count), *self._room.shape[1:]), dtype=self._room.dtype)
            room[: self._count] = self.rows
            self._room = room
        self._room[self._count : end] = rows
        self._count = end
