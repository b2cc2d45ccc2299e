"""Named workflows: those that ship, and those that users have defined, in their last versions."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select

from amrikyy.agents.registry import Registry
from amrikyy.auth.audit import Act, Actor, note
from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database
from amrikyy.db.sealed import seal_row, unseal_row
from amrikyy.db.tables import workflow_definitions as table
from amrikyy.errors import Conflict, NotFound, ValidationFailed
from amrikyy.sealing import Sealer
from amrikyy.workflows.library import LIBRARY
from amrikyy.workflows.plan import Definition, check, contains_others

MAX_DEFINITIONS = 1_000

KEPT_VERSIONS = 20
"""Versions of each that are kept, as its history. No workflow needs them to go on: it has its own copy."""

_LOCK = 0x64656673  # "defs": two that are saved at the same time could contain each other


@dataclass(frozen=True, slots=True)
class Saved:
    """A definition and where it comes from. Version 0 are those that ship."""

    definition: Definition
    version: int
    saved_by: str | None
    saved_at: datetime | None


_BUILT_IN = {each.name: Saved(each, 0, None, None) for each in LIBRARY}

_BROKEN_BY_OTHERS = frozenset({"cycle", "too_deep", "too_many", "unknown_workflow"})
"""What can become wrong with a workflow when another one is changed. The rest was wrong with it before."""


def no_workflow(name: str) -> NotFound:
    """The error for a workflow that does not exist."""
    return NotFound(
        f"There is no workflow {name[:64]!r}; GET /api/coordinator/workflows lists them all.",
        code="workflow_not_found",
    )


class Definitions:
    """The named workflows. Every method may raise Unavailable."""

    def __init__(self, database: Database, registry: Registry, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._registry = registry

    async def all(self) -> dict[str, Saved]:
        """The newest version of each, by name."""
        async with self._database.connect() as connection:
            return await self._all(connection)

    async def get(self, name: str) -> Saved:
        """The newest version of one.

        Raises:
            NotFound: there is none of that name.
        """
        async with self._database.connect() as connection:
            row = (await connection.execute(_newest(table).where(table.c.name == name))).first()
        if row is not None and row.definition is not None:
            return self._saved(row)
        if name in _BUILT_IN:
            return _BUILT_IN[name]
        raise no_workflow(name)

    async def save(self, definition: Definition, actor: Actor) -> Saved:
        """Add a workflow, or a new version of one, and note who did. What has begun goes on as it began.

        Raises:
            ValidationFailed: it could not be run; the details name every wrong part.
            Conflict: it ships, or another workflow that contains it could no longer be run.
        """
        if definition.name in _BUILT_IN:
            message = f"The workflow {definition.name!r} ships with the server; choose another name."
            raise Conflict(message, code="workflow_built_in")
        async with self._database.begin(lock=_LOCK) as connection:
            known = {name: each.definition for name, each in (await self._all(connection)).items()}
            if len(known) >= MAX_DEFINITIONS and definition.name not in known:
                raise ValidationFailed(f"There are {MAX_DEFINITIONS} workflows already; delete one.")
            self._check(known | {definition.name: definition}, definition.name)
            query = select(func.coalesce(func.max(table.c.version), 0)).where(table.c.name == definition.name)
            version = (await connection.execute(query)).scalar_one() + 1
            row = {
                "name": definition.name,
                "version": version,
                "definition": definition.model_dump_json(by_alias=True),
                "saved_by": actor.id,
                "saved_at": datetime.now(UTC),
            }
            await connection.execute(insert(table).values(seal_row(self._sealer, table, row)))
            outdated = (table.c.name == definition.name) & (table.c.version <= version - KEPT_VERSIONS)
            await connection.execute(delete(table).where(outdated))
            await note(connection, Act(actor, "workflow.save", definition.name, {"version": version}))
        return Saved(definition, version, actor.id, row["saved_at"])

    async def delete(self, name: str, actor: Actor) -> None:
        """Take a workflow out of use, and record who did. Its versions stay as long as its runs, which they explain.

        Raises:
            NotFound: there is none of that name.
            Conflict: it ships, or another workflow contains it.
        """
        async with self._database.begin(lock=_LOCK) as connection:
            saved = await self._all(connection)
            if name not in saved:
                raise no_workflow(name)
            if saved[name].version == 0:
                raise Conflict(f"The workflow {name!r} ships with the server and stays.", code="workflow_built_in")
            self._check({each: kept.definition for each, kept in saved.items() if each != name}, None)
            row = {
                "name": name,
                "version": saved[name].version + 1,
                "saved_by": actor.id,
                "saved_at": datetime.now(UTC),
            }
            await connection.execute(insert(table).values(row))
            await note(connection, Act(actor, "workflow.delete", name))

    async def purge(self, older_than: timedelta) -> int:
        """Delete the versions of workflows that were taken out of use so long ago. Returns how many there were."""
        until = datetime.now(UTC) - older_than
        unused = _newest(table.c.name).where(table.c.definition.is_(None), table.c.saved_at < until)
        async with self._database.begin(lock=_LOCK) as connection:
            return (await connection.execute(delete(table).where(table.c.name.in_(unused)))).rowcount

    async def _all(self, connection: AsyncConnection) -> dict[str, Saved]:
        saved = dict(_BUILT_IN)
        for row in await connection.execute(_newest(table).order_by(table.c.name)):
            if row.definition is not None:
                saved[row.name] = self._saved(row)
        return saved

    def _saved(self, row: Row[Any]) -> Saved:
        definition = Definition.model_validate_json(unseal_row(self._sealer, table, row)["definition"])
        return Saved(definition, row.version, row.saved_by, row.saved_at)

    def _check(self, definitions: dict[str, Definition], new: str | None) -> None:
        if new is not None:
            check(definitions[new].plan, self._registry, definitions.get, name=new)
        for name, definition in definitions.items():
            if name == new or not contains_others(definition.plan):
                continue
            try:
                check(definition.plan, self._registry, definitions.get, name=name)
            except ValidationFailed as error:
                if any(each["type"] in _BROKEN_BY_OTHERS for each in error.details):
                    message = f"The workflow {name!r} contains it and could no longer be run."
                    raise Conflict(message, code="workflow_in_use", details=error.details) from None


def _newest(*wanted: Any) -> Select[Any]:
    """What is wanted of the newest version of each."""
    newest = select(table.c.name, func.max(table.c.version).label("version")).group_by(table.c.name).subquery()
    return select(*wanted).join(newest, (table.c.name == newest.c.name) & (table.c.version == newest.c.version))
