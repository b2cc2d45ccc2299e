"""The audit log: what is in it, how it is read, and how long it is kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from amrikyy.auth import Accounts, Act, Actor, AuditLog, Role
from amrikyy.auth.audit import OPERATOR, Outcome
from amrikyy.db import Database
from amrikyy.db.tables import audit_log
from amrikyy.errors import Forbidden
from tests.auth.conftest import PASSWORD

ADMIN = Actor("user:admin", "admin@example.com", Role.ADMIN, "req_1", "192.0.2.1")


@pytest.fixture
def audit(database: Database) -> AuditLog:
    return AuditLog(database)


async def test_an_act_is_kept_with_who_did_it_from_where(audit: AuditLog) -> None:
    await audit.record(Act(ADMIN, "cache.clear", "travel", {"pattern": "travel:*"}))
    (entry,) = await audit.page()
    assert (entry.actor, entry.actor_name, entry.actor_role) == ("user:admin", "admin@example.com", "admin")
    assert (entry.action, entry.target, entry.details) == ("cache.clear", "travel", {"pattern": "travel:*"})
    assert (entry.outcome, entry.request_id, entry.address) == (Outcome.DONE, "req_1", "192.0.2.1")
    assert abs(entry.at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_acts_are_found_by_each_of_their_sides_newest_first(audit: AuditLog) -> None:
    for number in range(4):
        await audit.record(Act(ADMIN if number % 2 else OPERATOR, f"test.act{number}", str(number // 2)))

    async def found(**filters: Any) -> str:
        return "".join(entry.action[-1] for entry in await audit.page(**filters))

    assert await found() == "3210"
    assert await found(actor="operator") == "20"
    assert await found(actor="operator", target="1") == "2"
    assert await found(action="test.act3") == "3"
    assert await found(outcome=Outcome.DENIED) == ""
    first = await audit.page(limit=2)
    assert await found(before=first[-1].id) == "10"
    assert await found(since=first[-1].at) == "32"
    assert await found(until=first[-1].at) == "10"


async def test_what_is_denied_is_recorded_as_such_and_not_done(accounts: Accounts, audit: AuditLog) -> None:
    boss = await accounts.create_user("boss@example.com", PASSWORD, Role.INTERNAL)
    key = await accounts.create_key("root", Role.INTERNAL)
    attempts = [
        accounts.create_user("x@example.com", PASSWORD, Role.INTERNAL, by=ADMIN),
        accounts.change_user(boss.id, disabled=True, by=ADMIN),
        accounts.reset_password(boss.id, "another password", by=ADMIN),
        accounts.offer_reset(boss.id, by=ADMIN),
        accounts.create_key("x", Role.INTERNAL, by=ADMIN),
        accounts.revoke_key(key.info.id, by=ADMIN),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden):
            await attempt
    denied = await audit.page(outcome=Outcome.DENIED)
    assert [(entry.action, entry.actor) for entry in reversed(denied)] == [
        (action, ADMIN.id)
        for action in (
            "user.create",
            "user.change",
            "user.set_password",
            "user.offer_reset",
            "key.create",
            "key.revoke",
        )
    ]
    assert [entry.action for entry in await audit.page(outcome=Outcome.DONE)] == ["key.create", "user.create"]
    assert (await accounts.user(boss.id)).disabled_at is None
    assert [each.id for each in await accounts.keys()] == [key.info.id]


async def test_what_changes_nothing_is_not_recorded(accounts: Accounts, audit: AuditLog) -> None:
    user = await accounts.create_user("ada@example.com", PASSWORD, Role.USER, name="Ada")
    assert await accounts.change_user(user.id, role=Role.USER, name="Ada", disabled=False) == user
    disabled = await accounts.change_user(user.id, disabled=True)
    assert await accounts.change_user(user.id, disabled=True) == disabled
    assert [entry.action for entry in await audit.page()] == ["user.disable", "user.create"]


async def test_an_act_that_cannot_be_recorded_does_not_happen(accounts: Accounts, database: Database) -> None:
    user = await accounts.create_user("ada@example.com", PASSWORD, Role.USER)
    key = (await accounts.create_key("app", Role.USER)).info
    login = await accounts.login(user.email, PASSWORD)
    link = await accounts.offer_reset(user.id)
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE audit_log RENAME TO audit_log_away"))
    for attempt in (
        accounts.create_user("x@example.com", PASSWORD, Role.USER),
        accounts.change_user(user.id, role=Role.ADMIN, disabled=True),
        accounts.reset_password(user.id, "another password"),
        accounts.redeem_reset(link.token, "another password"),
        accounts.offer_reset(user.id),
        accounts.create_key("x", Role.USER),
        accounts.revoke_key(key.id),
    ):
        with pytest.raises(Exception, match="audit_log"):
            await attempt
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE audit_log_away RENAME TO audit_log"))
    assert [each async for each in accounts.each_user()] == [user]
    assert await accounts.keys() == [key]
    assert (await accounts.refresh(login.refresh_token)).user == user, "no session has ended"
    await accounts.redeem_reset(link.token, "another password")


async def test_old_acts_are_deleted_in_batches(audit: AuditLog, database: Database) -> None:
    for number in range(5):
        await audit.record(Act(OPERATOR, "test.act", str(number)))
    old = update(audit_log).where(audit_log.c.target != "4").values(at=datetime.now(UTC) - timedelta(days=366))
    async with database.begin() as connection:
        await connection.execute(old)
    assert await audit.purge(timedelta(days=365), batch=2) == 4
    assert [entry.target for entry in await audit.page()] == ["4"]
