"""Encryption at rest: content is sealed for its place before it is stored, and unsealed when it is read.

    stored = sealer.seal(text, "runs.request", run_id)     # text stays text, bytes stay bytes
    text = sealer.unseal(stored, "runs.request", run_id)   # the same place, or Undecryptable

Rows of the database are sealed whole, by `amrikyy.db.sealed`.
"""

from amrikyy.sealing.keys import key_bytes, key_id
from amrikyy.sealing.sealer import BYTES_MARK, PLAIN, TEXT_MARK, Sealer

__all__ = ["BYTES_MARK", "PLAIN", "TEXT_MARK", "Sealer", "key_bytes", "key_id"]
