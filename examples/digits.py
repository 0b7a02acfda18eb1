"""Train a small network to read handwritten digits: real data, a few seconds, about 98 % right.

    bcai run examples/digits.py --out out/digits     # in a jail, on a node of the network
    python examples/digits.py                        # the same script, here

The data are scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, which come with that package.
What stands at the top level of a script when it ends is its result: here `model` (its weights),
`loss` and `accuracy`.
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

import bcai


def load():
    """Return training and test pictures with their labels; a fifth is kept for the test."""
    pictures, labels = load_digits(return_X_y=True)
    split = train_test_split(pictures, labels, test_size=0.2, random_state=0, stratify=labels)
    x_train, x_test, y_train, y_test = (torch.tensor(part) for part in split)
    scale = 16.0  # a pixel is a number from 0 to 16
    return (x_train.float() / scale, y_train), (x_test.float() / scale, y_test)


def network():
    """Two convolutions, then one decision among ten digits."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(64 * 4 * 4, 10),
    )


def train(model, pictures, labels, *, epochs, batch=32):
    """Fit the model, one pass over the data per epoch; yield each epoch's number and mean loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for chosen in torch.randperm(len(pictures)).split(batch):
            loss = cross_entropy(model(pictures[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        yield epoch, total / len(pictures)


@torch.no_grad()
def test(model, pictures, labels):
    """Return the share of pictures that the model reads correctly."""
    model.eval()
    return (model(pictures).argmax(1) == labels).float().mean().item()


def main(epochs=20):
    """Train, report after every epoch, and return what is worth keeping."""
    torch.manual_seed(0)
    training, testing = load()
    model = network()
    print(f"training on {len(training[0])} pictures, testing on {len(testing[0])}")
    loss = accuracy = 0.0
    for epoch, loss in train(model, *training, epochs=epochs):
        accuracy = test(model, *testing)
        print(f"epoch {epoch:2d}   loss {loss:.4f}   accuracy {accuracy:.4f}")
        bcai.log(step=epoch, loss=loss, accuracy=accuracy)
        bcai.progress(epoch / epochs)
    return model, loss, accuracy


model, loss, accuracy = main()
bcai.output("model", model.state_dict())
print(f"test accuracy: {accuracy:.1%}")
