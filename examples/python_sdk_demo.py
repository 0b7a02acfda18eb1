"""A training job through the WebSocket client: submit, wait, read the metrics.

bcai up                                # in one terminal: a network on port 8080
python examples/python_sdk_demo.py     # in another
"""

from bcai_sdk import BCaiClient, TrainingJob

client = BCaiClient("ws://localhost:8080")

# Define training code
training_code = """
import bcai
import torch
import torch.nn as nn


class SimpleNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        return self.linear(x)


torch.manual_seed(0)
model = SimpleNN()
x, y = torch.randn(256, 784), torch.randint(0, 10, (256,))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(1, 51):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    bcai.log(step=step, loss=loss.item())
    bcai.progress(step / 50)
"""

# Submit job
job = TrainingJob(
    name="simple-classifier",
    code=training_code,
    requirements=["torch>=2.0.0"],
    resources={"memory_gb": 4},
    reward_tokens=1000,  # recorded; without a ledger nothing is paid, and the result says so
)

result = client.submit_job(job)
print(f"Training completed: {result.training_metrics}")
