"""One API key, compared in constant time, by the server's own hook."""

import hmac
import os

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate  # type: ignore[untyped-decorator]  # it has no types here
async def authenticate(headers: dict[bytes, bytes]) -> Auth.types.MinimalUserDict:
    """Check the caller's key."""
    if not hmac.compare_digest(headers.get(b"x-api-key", b""), os.environ["BENCH_KEY"].encode()):
        raise Auth.exceptions.HTTPException(status_code=401, detail="A valid key is needed.")
    return {"identity": "bench"}
