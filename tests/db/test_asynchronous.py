"""The asynchronous engine by itself, and the rest of its package for whoever asks for more."""

import subprocess
import sys

WITHOUT = """
import sys
from amrikyy.app import create_app
assert "sqlalchemy.orm" not in sys.modules, "something imports sqlalchemy.ext.asyncio itself, or the ORM"
assert "sqlalchemy.dialects.postgresql" not in sys.modules, "the database is SQLite"
"""
WITH = """
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.ext import asyncio as package
from amrikyy.db.asynchronous import AsyncConnection, create_async_engine
assert package.AsyncConnection is AsyncConnection and package.AsyncSession is AsyncSession
assert AsyncSession(create_async_engine("sqlite+aiosqlite://")).bind is not None
import dbos
"""


def test_the_server_does_not_load_the_orm_and_whoever_wants_it_gets_it() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT + WITH], check=True)
    subprocess.run([sys.executable, "-c", WITH], check=True)  # in any order
