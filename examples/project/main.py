"""A project with its own module, a data file and an argument.

    python examples/make_digits_csv.py digits.csv
    bcai run examples/project --data digits.csv -- --epochs 15

The folder travels as it is, so `from model import ...` works. A data file appears, read-only, in
the working folder under its own name, so `open("digits.csv")` works.
"""

import argparse

import numpy as np
import torch
from model import DigitReader
from torch.nn.functional import cross_entropy

import bcai


def load(path):
    """Read the table and set every fifth line aside for the test."""
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
    pictures, labels = torch.tensor(table[:, :-1]) / 16, torch.tensor(table[:, -1]).long()
    held_out = torch.arange(len(labels)) % 5 == 0
    return pictures[~held_out], labels[~held_out], pictures[held_out], labels[held_out]


def train(path, epochs):
    """Train on the file; return the model, the last loss and the accuracy on the test lines."""
    x_train, y_train, x_test, y_test = load(path)
    print(f"{path}: {len(y_train)} digits to train on, {len(y_test)} to test with")
    reader = DigitReader(hidden=128)
    optimizer = torch.optim.Adam(reader.parameters(), lr=2e-3)
    mean_loss = accuracy = 0.0
    for epoch in range(1, epochs + 1):
        losses = []
        for chosen in torch.randperm(len(y_train)).split(32):
            loss = cross_entropy(reader(x_train[chosen]), y_train[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        mean_loss = sum(losses) / len(losses)
        with torch.no_grad():
            accuracy = (reader(x_test).argmax(1) == y_test).float().mean().item()
        bcai.log(step=epoch, loss=mean_loss, accuracy=accuracy)
        bcai.progress(epoch / epochs)
    return reader, mean_loss, accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits.csv")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    model, loss, accuracy = train(arguments.data, arguments.epochs)
    bcai.output("model", model.state_dict())
    print(f"test accuracy: {accuracy:.1%}")
