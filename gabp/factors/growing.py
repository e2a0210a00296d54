"""Arrays that rows are appended to."""

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

    def append(self, rows: np.ndarray) -> None:
        """Add rows at the end. Views that were taken before keep their rows."""
        count = self._count + len(rows)
        if count > len(self._room):
            room = np.empty((max(count, 2 * self._count), *self._room.shape[1:]), dtype=self._room.dtype)
            room[: self._count] = self.rows
            self._room = room
        self._room[self._count : count] = rows
        self._count = count
