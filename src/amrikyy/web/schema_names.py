"""The names of schemas in the OpenAPI document: clients are generated from it, so names must be stable."""

from collections import defaultdict
from typing import Any


def shorten(names: list[str], reserved: str = "amrikyy") -> dict[str, str]:
    """Shorter names for those that pydantic builds from the module path, which it does if two classes share a name.

    The server's own class keeps the plain name, whatever agents are loaded; others get their package in front.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if "__" in name:
            alike[name.rpartition("__")[2]].append(name)
    new: dict[str, str] = {}
    taken = set(names)
    for last, group in alike.items():
        group.sort(key=lambda name: (not name.startswith(f"{reserved}__"), name))
        for number, name in enumerate(group):
            package = name.partition("__")[0]
            wanted = last if number == 0 and package == reserved else f"{package.title().replace('_', '')}{last}"
            if wanted not in taken:
                taken.add(wanted)
                new[name] = wanted
    return new


def rename(schema: Any, new: dict[str, str], prefix: str) -> None:
    """Replace every reference in a schema by one to the new name."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if isinstance(value, str) and value.startswith(prefix):  # in `$ref`, or in a discriminator's mapping
                schema[key] = prefix + new.get(value.removeprefix(prefix), value.removeprefix(prefix))
            else:
                rename(value, new, prefix)
    elif isinstance(schema, list):
        for value in schema:
            rename(value, new, prefix)
