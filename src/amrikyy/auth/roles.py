"""Roles and permissions: the guide's table, as data."""

from enum import StrEnum


class Permission(StrEnum):
    """What a caller may do."""

    AGENT_READ = "agent:read"
    AGENT_EXECUTE = "agent:execute"
    AGENT_PRIORITY = "agent:priority"
    AGENT_STREAMING = "agent:streaming"
    AGENT_MANAGE = "agent:manage"
    AGENT_STATS = "agent:stats"
    CACHE_MANAGE = "cache:manage"


class Role(StrEnum):
    """What a caller is; each role can do all that the one before it can."""

    USER = "user"
    PREMIUM = "premium"
    ADMIN = "admin"
    INTERNAL = "internal"

    permissions: frozenset[Permission]
    """What the role may do."""

    def at_most(self, other: "Role") -> bool:
        """Whether this role is no higher than `other`."""
        order = list(Role)
        return order.index(self) <= order.index(other)


_USER = frozenset({Permission.AGENT_READ, Permission.AGENT_EXECUTE})
_PREMIUM = _USER | {Permission.AGENT_PRIORITY, Permission.AGENT_STREAMING}
_ADMIN = _PREMIUM | {Permission.AGENT_MANAGE, Permission.AGENT_STATS, Permission.CACHE_MANAGE}

Role.USER.permissions = _USER
Role.PREMIUM.permissions = _PREMIUM
Role.ADMIN.permissions = _ADMIN
Role.INTERNAL.permissions = frozenset(Permission)
