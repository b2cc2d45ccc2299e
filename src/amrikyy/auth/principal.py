"""Who asks, as whom, and with what rights."""

from dataclasses import dataclass
from typing import Literal

from amrikyy.auth.roles import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    Attributes:
        id: "user:<id>", "key:<id>" or "envkey:<start of its hash>"; the owner of the runs that it starts.
        kind: how it proved who it is.
        role: its role now, not when the credential was issued.
        name: for people.
        email: of a user.
        user_id: of a user.
        session: the login that an access token came from.
    """

    id: str
    kind: Literal["user", "key"]
    role: Role
    name: str | None = None
    email: str | None = None
    user_id: str | None = None
    session: str | None = None
