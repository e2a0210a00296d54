"""What the compiled kernels accept as an array: exactly the dtype, layout and device they expect, of torch or numpy."""

import numpy as np
import pytest
import torch

from gabp.kernels import cpu

COLUMNS = np.arange(6.0).reshape(3, 2)
NORMS = np.linalg.norm(COLUMNS, axis=0)


def norms(columns, out):
    cpu.extension.column_norms(columns, out, 1)
    return np.asarray(out)


@pytest.mark.parametrize("as_array", [np.copy, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("as_output", [np.empty, lambda k: torch.empty(k, dtype=torch.float64)], ids=["numpy", "torch"])
def test_arrays_of_both_libraries_are_read_and_written_in_place(as_array, as_output):
    np.testing.assert_allclose(norms(as_array(COLUMNS), as_output(2)), NORMS)


def test_subclasses_of_tensors_are_read():
    parameter = torch.nn.Parameter(torch.tensor(COLUMNS), requires_grad=False)
    np.testing.assert_allclose(norms(parameter, np.empty(2)), NORMS)


def test_offsets_of_views_count():
    wide = torch.tensor(np.vstack([np.full((2, 2), np.nan), COLUMNS]))
    np.testing.assert_allclose(norms(wide[2:], np.empty(2)), NORMS)


@pytest.mark.parametrize(
    "columns",
    [
        torch.zeros(6, dtype=torch.float64),
        torch.zeros((1, 3, 2), dtype=torch.float64),
        torch.zeros((3, 2), dtype=torch.float64, device="meta"),
        [[0.0, 1.0]],
        None,
    ],
    ids=["too few dimensions", "too many dimensions", "another device", "no array", "none"],
)
def test_other_arguments_are_refused(columns):
    with pytest.raises(TypeError, match="incompatible function arguments"):
        norms(columns, np.empty(2))


@pytest.mark.parametrize("rows", [0, 1])
def test_strides_of_single_rows_and_of_empty_arrays_do_not_matter(rows):
    columns = torch.tensor(COLUMNS).T[:rows]
    assert norms(columns[:, :1], np.empty(1)) == pytest.approx(0.0)


def test_the_layout_of_kept_arrays_is_never_converted():
    start, source, value = torch.arange(4), torch.tensor([1, 2, 0], dtype=torch.int32), torch.ones(6)
    for column, values in ((source, value[::2]), (source, value[:3].half()), (source.short(), value[:3])):
        with pytest.raises(ValueError, match="not the arrays of compressed rows"):
            cpu.extension.inspect_rows(start, column, values, 1)
    assert cpu.extension.inspect_rows(start, source, value[:3], 1) == (-1, -1, True)


def test_read_only_outputs_are_refused():
    out = np.empty(2)
    out.flags.writeable = False
    with pytest.raises(TypeError, match="incompatible function arguments"):
        norms(COLUMNS, out)
