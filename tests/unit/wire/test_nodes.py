"""What a node may say at most."""

import pytest
from pydantic import ValidationError

from bcai.wire.nodes import FROM_NODE, HELD_MAX, Heartbeat, Held


def test_a_node_holds_so_many_attempts_and_no_more() -> None:
    one = Held(job_id="job_1", lock_token="0" * 32)
    text = Heartbeat(held=[one] * HELD_MAX).model_dump_json()
    assert isinstance(FROM_NODE.validate_json(text), Heartbeat)
    more = text.replace("[", f"[{one.model_dump_json()},", 1)
    with pytest.raises(ValidationError, match=f"at most {HELD_MAX} items"):
        FROM_NODE.validate_json(more)
