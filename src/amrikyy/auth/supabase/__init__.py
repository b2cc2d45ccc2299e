"""Supabase Auth as the directory of users: SUPABASE_URL instead of accounts of this server's own."""

from amrikyy.auth.supabase.accounts import SupabaseAccounts
from amrikyy.auth.supabase.gotrue import GoTrue
from amrikyy.auth.supabase.tokens import SupabaseTokens

__all__ = ["GoTrue", "SupabaseAccounts", "SupabaseTokens"]
