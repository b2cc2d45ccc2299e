"""Stands for a shop's own system: a database, a service."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    number: str
    owner: str
    state: str


ORDERS = [Order("A-1001", "user:test", "It left the warehouse on Monday."), Order("A-1002", "user:other", "Paid.")]


async def find_order(number: str, owner: str) -> Order | None:
    """The order of that number, if it is this owner's."""
    await asyncio.sleep(0.001)
    return next((order for order in ORDERS if order.number == number and order.owner == owner), None)


def label_of(order: Order) -> str:
    """A shipping label; it takes its time and blocks, as old libraries do."""
    time.sleep(0.001)
    return f"[{order.number}]"
