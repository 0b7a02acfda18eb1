"""What an admin and the gateway say to each other about API keys."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bcai.wire.quantities import Text


class KeyRequest(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text = Field(min_length=1, max_length=200, examples=["laptop"])
    role: Literal["client", "node", "admin"] = "client"


class KeyView(BaseModel):
    """An API key, without its secret. Times are Unix seconds."""

    id: str
    name: str
    role: Literal["client", "node", "admin"]
    created_at: float
    revoked_at: float | None


class KeyCreated(KeyView):
    """A new key; its secret is shown this once and kept nowhere."""

    secret: str


class KeyList(BaseModel):
    """All keys, revoked ones too."""

    items: list[KeyView]
