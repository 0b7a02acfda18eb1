"""A thin face: re-exports BCaiClient and TrainingJob."""

from bcai.sdk.websocket_client import BCaiClient, TrainingJob

__all__ = ["BCaiClient", "TrainingJob"]
