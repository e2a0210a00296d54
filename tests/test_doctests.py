"""The examples in the docstrings of the installed package are true."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import gabp

EXTENSIONS = {"_cpu"}  # compiled: nothing to read there
MODULES = [
    "gabp",
    *(
        info.name
        for info in pkgutil.walk_packages(gabp.__path__, "gabp.")
        if not {"__main__", *EXTENSIONS} & set(info.name.split("."))
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name.startswith("gabp.kernels.cuda."):
        pytest.importorskip("triton", reason="Triton is not installed: pip install 'gabp[cuda]'")
    module = importlib.import_module(name)
    failures, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failures == 0


@pytest.mark.parametrize("name", gabp.__all__)
def test_public_names_are_documented(name):
    thing = getattr(gabp, name)
    if inspect.ismodule(thing):
        return
    documentation = inspect.getdoc(thing)
    assert documentation
    if inspect.isfunction(thing):
        assert ">>>" in documentation
        for parameter in inspect.signature(thing).parameters:
            assert parameter in documentation
