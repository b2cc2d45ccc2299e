"""Deletes old rows."""

from sqlalchemy import ColumnElement, Table, delete, select

from amrikyy.db.engine import Database


async def purge(database: Database, table: Table, old: ColumnElement[bool], batch: int = 1000) -> int:
    """Delete rows, one batch per transaction, so that nothing waits long for a lock.

    Args:
        database: has the table.
        table: must have a primary key of one column.
        old: the condition of rows to delete.
        batch: rows in one transaction.

    Returns:
        how many were deleted.

    Raises:
        Unavailable: the database cannot be reached; what was deleted stays deleted.
    """
    (key,) = table.primary_key.columns
    statement = delete(table).where(key.in_(select(key).where(old).limit(batch)))
    deleted = 0
    while True:
        async with database.begin() as connection:
            count = (await connection.execute(statement)).rowcount
        deleted += count
        if count < batch:
            return deleted
