"""PyTorch modules as Programs: torch.export, then one rule for each ATen operation."""

from bcai.bridge.guest.export.module import Exported, export

__all__ = ["Exported", "export"]
