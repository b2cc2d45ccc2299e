"""The runtime: everything that lives as long as the process, opened in one place and closed in reverse."""

from amrikyy.runtime.opening import open_accounts_of, open_runtime
from amrikyy.runtime.runtime import Runtime

__all__ = ["Runtime", "open_accounts_of", "open_runtime"]
