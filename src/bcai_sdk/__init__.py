"""A thin face: re-exports BCaiClient and TrainingJob."""

from bcai.sdk.websocket_client import AsyncBCaiClient, BCaiClient, TrainingJob

__all__ = ["AsyncBCaiClient", "BCaiClient", "TrainingJob"]
