"""What models cost: for whom, for what, when."""

from amrikyy.spend.ledger import GROUPS, Ledger, UsageGroup

__all__ = ["GROUPS", "Ledger", "UsageGroup"]
