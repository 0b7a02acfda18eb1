"""Page tokens: opaque to the client, bound to the listing they continue."""

import base64
import binascii

from blake3 import blake3

from bcai.base.errors import FormatError

_CHECK_BYTES = 6


def seal(cursor: str, listing: str) -> str:
    """Wrap a cursor of the store. `listing` says of what: the owner and the filter."""
    body = cursor.encode()
    return base64.urlsafe_b64encode(_check(body, listing) + body).rstrip(b"=").decode()


def unseal(token: str, listing: str) -> str:
    """Return the cursor in a token.

    Raises
    ------
    FormatError
        It is no token of ours, or of another listing.
    """
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        check, body = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
        if check == _check(body, listing):
            return body.decode()
    except (binascii.Error, ValueError):
        pass
    raise FormatError(
        "page_token: not a token of this listing",
        hint="send the next_page_token of the page before, with the same filter",
    )


def _check(body: bytes, listing: str) -> bytes:
    return blake3(listing.encode() + b"\0" + body).digest(_CHECK_BYTES)
