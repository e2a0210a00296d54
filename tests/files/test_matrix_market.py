"""The Matrix Market reader against scipy's, on everything that both read, and what it refuses."""

import io

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gabp.files.matrix_market import MatrixMarketError, format_matrix_market, parse_matrix_market

HEAD = "%%MatrixMarket matrix coordinate real general\n"
SYMMETRIC = "%%MatrixMarket matrix coordinate real symmetric\n"
ARRAY = "%%MatrixMarket matrix array real general\n"

finite = st.floats(allow_nan=False, allow_infinity=False)
dense_matrices = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=finite | st.just(0.0))


def dense(matrix):
    return matrix.toarray() if sp.issparse(matrix) else matrix


def parse(text):
    return dense(parse_matrix_market(text.encode()))


def written_by_scipy(matrix, **options):
    stream = io.BytesIO()
    scipy.io.mmwrite(stream, matrix, **options)
    return stream.getvalue()


@given(dense_matrices, st.sampled_from(["coordinate", "array"]))
def test_reads_what_scipy_writes(matrix, layout):
    data = written_by_scipy(sp.coo_array(matrix) if layout == "coordinate" else matrix, symmetry="general")
    read = parse_matrix_market(data)
    assert sp.issparse(read) == (layout == "coordinate")
    np.testing.assert_array_equal(dense(read), matrix)


@given(
    arrays(np.float64, st.integers(1, 6).map(lambda n: (n, n)), elements=st.floats(-1e100, 1e100)),
    st.sampled_from(["coordinate", "array"]),
)
def test_reads_symmetric_files(matrix, layout):
    matrix = np.tril(matrix) + np.tril(matrix, -1).T
    data = written_by_scipy(sp.coo_array(matrix) if layout == "coordinate" else matrix, symmetry="symmetric")
    np.testing.assert_array_equal(dense(parse_matrix_market(data)), matrix)


@given(
    arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-(2**53), 2**53)),
    st.sampled_from(["integer", "pattern"]),
)
def test_reads_integers_and_patterns(matrix, field):
    data = written_by_scipy(sp.coo_array(matrix), field=field, symmetry="general")
    expected = matrix if field == "integer" else matrix != 0
    np.testing.assert_array_equal(parse(data.decode()), expected.astype(np.float64))


@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=2, max_side=5), elements=finite))
def test_what_is_written_comes_back(x):
    np.testing.assert_array_equal(parse(format_matrix_market(x).decode()), x.reshape(len(x), -1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(HEAD + "2 2 3\n1 1 1\n1 1 2\n2 2 5\n", [[3, 0], [0, 5]], id="duplicates are summed"),
        pytest.param(HEAD + "2 2 2\r\n1 1 1\r\n2 2 5\r\n", [[1, 0], [0, 5]], id="Windows line ends"),
        pytest.param(HEAD + "2 2 2\r1 1 1\r2 2 5\r", [[1, 0], [0, 5]], id="old Macintosh line ends"),
        pytest.param(HEAD + "% c\n\n2 2 2\n\n1 1 1\n% c\n 2\t2  5 \n\n", [[1, 0], [0, 5]], id="comments, blanks"),
        pytest.param(HEAD + "1 1 1\n1 1 -1.5D+02\n", [[-150]], id="Fortran exponent"),
        pytest.param(HEAD + "1 1 1\n1 1 +.5e+1", [[5]], id="plus signs, no last line end"),
        pytest.param(HEAD + "2 2 0\n", [[0, 0], [0, 0]], id="no entries"),
        pytest.param(HEAD.upper().replace("MATRIXMARKET", "MatrixMarket") + "1 1 1\n1 1 7\n", [[7]], id="capitals"),
        pytest.param(SYMMETRIC + "2 2 2\n1 2 3\n2 2 1\n", [[0, 3], [3, 1]], id="the upper triangle alone"),
        pytest.param(ARRAY + "2 2\n1\n2\n3\n4\n", [[1, 3], [2, 4]], id="arrays go down the columns"),
        pytest.param(ARRAY + "0 0\n", np.empty((0, 0)), id="nothing at all"),
    ],
)
def test_liberties_of_the_format(text, expected):
    np.testing.assert_array_equal(parse(text), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 3 1\n1 1 1\n", "line 1: not a Matrix Market file"),
        ("\x00\x01\x93NUMPY", "line 1: not a Matrix Market file"),
        ("%%MatrixMarket matrix coordinate real\n", "line 1: the header has 4 words"),
        ("%%MatrixMarket vector array real general\n1\n1\n", "line 1: holds a 'vector'"),
        ("%%MatrixMarket matrix table real general\n", "line 1: unknown format 'table'"),
        ("%%MatrixMarket matrix coordinate word general\n", "line 1: unknown field 'word'"),
        ("%%MatrixMarket matrix coordinate real lower\n", "line 1: unknown symmetry 'lower'"),
        ("%%MatrixMarket matrix coordinate complex general\n", "line 1: complex matrices are not supported"),
        (
            "%%MatrixMarket matrix coordinate complex hermitian\n",
            "line 1: complex matrices are not supported",
        ),
        ("%%MatrixMarket matrix coordinate real hermitian\n", "line 1: hermitian matrices are not supported"),
        ("%%MatrixMarket matrix array real skew-symmetric\n", "line 1: skew-symmetric matrices are not"),
        ("%%MatrixMarket matrix array pattern general\n", "line 1: an array cannot be a pattern"),
        (HEAD.strip(), "line 1: the file ends before"),
        (HEAD + "% only a comment\n", "line 3: the file ends before"),
        (HEAD + "3 3\n1 1 1\n", r"line 2: the size line should be 3 whole numbers .* not '3 3'"),
        (HEAD + "-3 3 1\n1 1 1\n", "line 2: the size line"),
        (HEAD + "9999999999 9999999999 1\n1 1 1\n", "line 2: .* too large"),
        (SYMMETRIC + "3 2 1\n1 1 1\n", "line 2: a symmetric matrix must be square, not 3×2"),
        (HEAD + "3 3 3\n1 1 1\n2 2 1\n", r"truncated: .* declares 3 entries, the file holds 2"),
        (HEAD + "3 3 999999999999999\n1 1 1\n", "truncated"),
        (ARRAY + "999999 999999\n1\n", "truncated"),
        (HEAD + "3 3 1\n% c\n1 1 1\n\n2 2 1\n", "line 6: more entries than the 1"),
        (HEAD + "3 3 2\n1 1 1\n\n4 2 1\n", "line 5: row 4 is outside 1…3"),
        (HEAD + "3 3 2\n1 0 1\n2 2 1\n", "line 3: column 0 is outside 1…3"),
        (HEAD + "3 3 1\n1.5 1 1\n", "line 3: row 1.5 is outside 1…3"),
        (HEAD + "3 3 1\nnan 1 1\n", "line 3: row nan is outside 1…3"),
        (HEAD + "3 3 2\n1 1 1\n2 2 1.0abc\n", "line 4: '1.0abc' is not a number"),
        (HEAD + "3 3 1\n1 1 1.2.3\n", r"line 3: '1\.2\.3' is not a number"),
        (HEAD + "3 3 1\n1 1 1_0\n", "line 3: '1_0' is not a number"),
        (HEAD + "3 3 1\n1 1 1,5\n", "line 3: '1,5' is not a number"),
        (HEAD + "3 3 2\n1 1\n2 2 1\n", "line 3: expected 'row column value', found '1 1'"),
        (HEAD + "3 3 2\n1 1 1 5\n2 2 1 5\n", "line 3: expected 'row column value', found '1 1 1 5'"),
        (HEAD.replace("real", "pattern") + "3 3 1\n1 1 7\n", "line 3: expected 'row column', found '1 1 7'"),
        (ARRAY + "1 1\n\x1b[31m\n", r"line 3: '\\x1b\[31m' is not a number"),
        (ARRAY + "1 1\n" + 99 * "x" + "\n", r"line 3: 'x{37}\.\.\.' is not a number"),
        (SYMMETRIC + "3 3 3\n2 1 1\n2 2 1\n1 2 1\n", r"line 5: .* both \(1, 2\) and \(2, 1\)"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, message):
    with pytest.raises(MatrixMarketError, match=message):
        parse_matrix_market(text.encode())


@given(st.sampled_from([SYMMETRIC + "3 3 3\n1 1 1.5\n2 1 -2e3\n3 3 4\n", ARRAY + "2 2\n1\n2\n3\n4\n"]), st.data())
def test_a_damaged_file_is_read_or_refused(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 4, len(text))))
    damaged = text[:start] + data.draw(st.text("019.-+e%# \n\r\t\0\x0c\xff", max_size=4)) + text[end:]
    try:
        matrix = parse_matrix_market(damaged.encode("latin-1"))
    except MatrixMarketError as error:
        assert "\n" not in str(error)
    else:
        assert matrix.dtype == np.float64
