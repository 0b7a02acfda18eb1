"""The network of this project."""

from torch import nn


class DigitReader(nn.Module):
    """64 pixels in, a score for each of the ten digits out."""

    def __init__(self, hidden):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )

    def forward(self, pictures):
        return self.layers(pictures)
