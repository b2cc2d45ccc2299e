"""Packages of which we use some modules, and which load far more than those when they are imported as a whole."""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any


def modules_only(name: str, **names: str) -> None:
    """Let modules of this package be imported without the package's own code, which is run when more is asked of it.

    Nothing changes for a package that is loaded already, or is not installed.

    Args:
        name: of the package.
        names: what its modules ask the package for all the same, and in which of them it is.
    """
    spec = find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    run, package = spec.loader.exec_module, module_from_spec(spec)

    def ask(attribute: str) -> Any:
        if attribute in names:
            return getattr(import_module(f"{name}.{names[attribute]}"), attribute)
        if find_spec(f"{name}.{attribute}") is not None:  # `from . import module`
            return import_module(f"{name}.{attribute}")
        del vars(package)["__getattr__"]
        run(package)
        return getattr(package, attribute)

    vars(package)["__getattr__"] = ask  # PEP 562
    sys.modules[name] = package
    parent, _, own_name = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own_name, package)
