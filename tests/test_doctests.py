"""The examples in the docstrings of the installed package are true, and every public parameter is documented."""

import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import gabp
from gabp.kernels import cuda

NOT_PYTHON = {"_cpu"}  # the compiled extension
MODULES = [
    "gabp",
    *(
        info.name
        for info in pkgutil.walk_packages(gabp.__path__, "gabp.")
        if not {"__main__", *NOT_PYTHON} & set(info.name.split("."))
    ),
]
PUBLIC = [name for name in gabp.__all__ if not inspect.ismodule(getattr(gabp, name))]


def has_examples(module: str) -> bool:
    source = importlib.util.find_spec(module).origin
    return ">>>" in Path(source).read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [name for name in MODULES if has_examples(name)])
def test_the_examples_are_true(module):
    failures, _ = doctest.testmod(
        importlib.import_module(module), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert failures == 0


def test_every_module_can_be_imported():
    for module in MODULES:
        if not module.startswith("gabp.kernels.cuda.") or cuda.triton_missing_because() is None:
            importlib.import_module(module)


def entries(documentation: str, *sections: str) -> set[str]:
    """The names that the numpydoc ``sections`` describe."""
    found = set()
    for section in sections:
        match = re.search(rf"^{section}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", documentation, re.M | re.S)
        for line in re.findall(r"^(\S[^:\n]*)(?: :|$)", match[1], re.M) if match else []:
            found.update(name.strip().lstrip("*") for name in line.split(","))
    return found


def undocumented(thing: object, *sections: str) -> set[str]:
    """The parameters of a function or class that have no entry in these sections of its docstring."""
    parameters = {name for name in inspect.signature(thing).parameters if not name.startswith("_")}
    return parameters - entries(inspect.getdoc(thing) or "", *sections)


def test_entries_are_read_from_their_sections_only():
    documentation = "A b.\n\nParameters\n----------\nA, M : matrix\n    Of b.\n*rest\n\nReturns\n-------\nx : array"
    assert entries(documentation, "Parameters") == {"A", "M", "rest"}
    assert entries(documentation, "Parameters", "Returns") == {"A", "M", "rest", "x"}


FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(gabp, name))]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(gabp, name))]
RESULTS = [name for name in CLASSES if dataclasses.is_dataclass(getattr(gabp, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_document_every_parameter_and_show_an_example(name):
    function = getattr(gabp, name)
    assert undocumented(function, "Parameters") == set()
    assert ">>>" in inspect.getdoc(function)


@pytest.mark.parametrize("name", CLASSES)
def test_public_classes_have_a_docstring_of_their_own(name):
    assert getattr(gabp, name).__doc__


@pytest.mark.parametrize("name", RESULTS)
def test_results_document_every_attribute(name):
    assert undocumented(getattr(gabp, name), "Parameters", "Attributes") == set()


def test_the_solver_documents_every_keyword_of_solve_that_sets_it_up():
    of_a_solution = {"b", "x0", "rtol", "atol", "maxiter", "callback", "throw"}
    of_the_setup = set(inspect.signature(gabp.solve).parameters) - of_a_solution
    assert of_the_setup <= entries(inspect.getdoc(gabp.Solver), "Parameters")
