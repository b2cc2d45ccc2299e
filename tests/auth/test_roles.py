"""The guide's table of roles and permissions."""

import re
from itertools import pairwise

from amrikyy.auth import Permission, Role

GUIDE = """
| **USER** | `agent:read`, `agent:execute` |
| **PREMIUM** | USER + `agent:priority`, `agent:streaming` |
| **ADMIN** | PREMIUM + `agent:manage`, `agent:stats`, `cache:manage` |
| **INTERNAL** | All permissions |
"""
"""Copied from the guide, section "Roles & Permissions"."""


def test_the_roles_permissions_are_the_guides_table() -> None:
    expected: dict[str, set[str]] = {}
    for name, cell in re.findall(r"\| \*\*(\w+)\*\* \| (.+) \|", GUIDE):
        own = set(re.findall(r"`([^`]+)`", cell))
        for other, inherited in list(expected.items()):
            if f"{other} +" in cell:
                own |= inherited
        expected[name] = {permission.value for permission in Permission} if cell == "All permissions" else own
    assert {role.name: {permission.value for permission in role.permissions} for role in Role} == expected


def test_each_role_can_do_all_that_the_one_before_can() -> None:
    assert all(lower.permissions <= higher.permissions for lower, higher in pairwise(Role))


def test_roles_are_ordered() -> None:
    assert Role.USER.at_most(Role.USER)
    assert Role.USER.at_most(Role.INTERNAL)
    assert not Role.INTERNAL.at_most(Role.ADMIN)
    assert not Role.PREMIUM.at_most(Role.USER)
