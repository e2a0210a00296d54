"""Matrices from files of every kind, and each thing that can be wrong with a file."""

import gzip
import io

import numpy as np
import pytest
import scipy.sparse as sp

from gabp.files import FileError, check_writable, read_matrix, read_right_hand_side, write_dense

A = sp.csr_array(np.array([[4.0, -1.0, 0.0], [-1.0, 4.0, -1.5], [0.0, -1.5, 4.0]]))
TEXT = b"%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n2 2 5\n"


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_reads_every_sparse_form_of_npz(tmp_path, form):
    sp.save_npz(tmp_path / "a.npz", A.asformat(form))
    np.testing.assert_array_equal(read_matrix(tmp_path / "a.npz").toarray(), A.toarray())


@pytest.mark.parametrize("name", ["a.mtx", "a.MTX", "a.mtx.gz"])
def test_reads_plain_and_compressed_text(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(TEXT, mtime=0) if name.endswith("gz") else TEXT)
    np.testing.assert_array_equal(read_matrix(tmp_path / name).toarray(), [[1, 0], [0, 5]])


@pytest.mark.parametrize("name", ["x.mtx", "x.mtx.gz"])
@pytest.mark.parametrize("shape", [(7,), (7, 1), (7, 3)])
def test_round_trip(tmp_path, name, shape):
    x = np.random.default_rng(0).standard_normal(shape) * 10.0 ** np.arange(-150, 200, 50).reshape(
        7, *shape[1:] and [1]
    )
    write_dense(tmp_path / name, x, "a comment")
    np.testing.assert_array_equal(read_right_hand_side(tmp_path / name, 7), x[:, 0] if shape == (7, 1) else x)


def test_right_hand_side_in_coordinates(tmp_path):
    b = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    sp.save_npz(tmp_path / "b.npz", sp.csc_array(b))
    np.testing.assert_array_equal(read_right_hand_side(tmp_path / "b.npz", 3), b)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 1), "has 2 rows, the matrix has 3"), ((1, 3), "this is a row"), ((3, 0), "has no column")],
)
def test_right_hand_side_that_does_not_fit(tmp_path, shape, message):
    sp.save_npz(tmp_path / "b.npz", sp.csr_array(shape))
    with pytest.raises(FileError, match=message):
        read_right_hand_side(tmp_path / "b.npz", 3)


class Trap:
    """Would make itself known on being unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


CSR = {"format": b"csr", "shape": (2, 2), "data": np.ones(2), "indices": np.arange(2), "indptr": np.arange(3)}


def corrupted(data, place):
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", TEXT, "unknown kind of file; .mtx, .mtx.gz and .npz"),
        ("a", TEXT, "unknown kind of file"),
        ("a.mtx", b"", "the file is empty"),
        ("a.mtx.gz", gzip.compress(b" \n", mtime=0), "the file is empty"),
        ("a.mtx", TEXT[:-6], "truncated: .* declares 2 entries, the file holds 1"),
        ("a.mtx.gz", TEXT, "damaged, truncated or not gzip"),
        ("a.mtx.gz", gzip.compress(TEXT, mtime=0)[:-12], "damaged, truncated or not gzip"),
        ("a.mtx.gz", corrupted(gzip.compress(TEXT, mtime=0), 20), "damaged, truncated or not gzip"),
        ("a.npz", b"", "not a sparse matrix saved by .*no zip archive"),
        ("a.npz", TEXT, "not a sparse matrix saved by .*no zip archive"),
        ("a.npz", npz(**CSR)[:-30], "not a sparse matrix saved by .*cut short"),
        ("a.npz", npz(a=np.eye(2)), "not a sparse matrix saved by .*no array named data nor format nor shape"),
        ("a.npz", npz(**CSR | {"format": b"new"}), "not a sparse matrix saved by"),
        (
            "a.npz",
            npz(**CSR | {"data": np.array([Trap(), 1], dtype=object)}),
            "not a sparse matrix saved by .*Python objects",
        ),
        ("a.npz", npz(**CSR | {"indices": np.array([0, 7])}), "not a sparse matrix saved by"),
        ("a.npz", npz(**CSR | {"indptr": np.array([0, 5, 2])}), "not a sparse matrix saved by"),
        ("a.npz", npz(**CSR | {"data": np.ones(2) * 1j}), "entries of type complex128 are not supported"),
        ("a.npz", npz(**CSR | {"data": np.ones(2, np.float16)}), "entries of type float16 are not supported"),
        ("a.npz", npz(**CSR | {"data": np.array(["a", "b"])}), "not a sparse matrix|entries of type <U1"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=message) as caught:
        read_matrix(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "BytesIO" not in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz", ".npz"])
def test_what_is_not_a_file(tmp_path, suffix):
    with pytest.raises(FileError, match="cannot be read: no such file"):
        read_matrix(tmp_path / f"missing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(FileError, match="cannot be read: is a directory"):
        read_matrix(tmp_path / f"folder{suffix}")
    with pytest.raises(FileError, match="not a file name"):
        read_matrix(f"nul\0{suffix}")


@pytest.mark.parametrize("kind", ["r", "w"])
def test_permission_denied(tmp_path, monkeypatch, kind):
    def denied(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    monkeypatch.setattr("pathlib.Path.write_bytes", denied)
    with pytest.raises(FileError, match="permission denied"):
        if kind == "r":
            read_matrix(tmp_path / "a.mtx")
        else:
            write_dense(tmp_path / "a.mtx", np.ones(2))


def test_output_paths_are_refused_in_advance(tmp_path):
    check_writable(tmp_path / "x.mtx", (".mtx",))
    (tmp_path / "folder.mtx").mkdir()
    for name, message in [
        ("x.csv", "must end in .mtx or .mtx.gz"),
        ("folder.mtx", "is a directory"),
        ("missing/x.mtx", "there is no folder"),
    ]:
        with pytest.raises(FileError, match=message):
            check_writable(tmp_path / name, (".mtx", ".mtx.gz"))
