"""The quick start: train a network from a dozen lines of Python.

    python examples/quickstart.py

No endpoint is named, so the job runs on a network of its own on this machine, in a jail;
`SDK("https://...", api_key=...)` sends the same job to another one.
"""

from bcai import SDK

client = SDK()

job = client.create_job("""
import torch
import torch.nn as nn

# Create a simple neural network
model = nn.Sequential(
    nn.Linear(784, 128),
    nn.ReLU(),
    nn.Linear(128, 10)
)

x = torch.randn(1000, 784)
y = torch.randint(0, 10, (1000,))
optimizer = torch.optim.Adam(model.parameters())

for epoch in range(10):
    pred = model(x)
    loss = nn.CrossEntropyLoss()(pred, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"Final loss: {loss.item()}")
""")

result = job.execute()
print(f"Job completed! Loss: {result.outputs['loss']:.4f}")
