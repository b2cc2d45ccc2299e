"""What models cost: for whom, for what, when, and what they may cost."""

from amrikyy.spend.allowance import Allowance, Reservation
from amrikyy.spend.budget_store import Period, Standing
from amrikyy.spend.budgets import Budgets
from amrikyy.spend.ledger import GROUPS, Ledger, UsageGroup
from amrikyy.spend.sums import Sums

__all__ = ["GROUPS", "Allowance", "Budgets", "Ledger", "Period", "Reservation", "Standing", "Sums", "UsageGroup"]
