"""Write scikit-learn's handwritten digits as a CSV file: 64 pixels and the label per line.

python examples/make_digits_csv.py digits.csv
bcai run examples/project --data digits.csv
"""

import csv
import sys
from pathlib import Path

from sklearn.datasets import load_digits

path = Path(sys.argv[1] if len(sys.argv) > 1 else "digits.csv")
pictures, labels = load_digits(return_X_y=True)
with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow([*(f"pixel{number}" for number in range(64)), "label"])
    for picture, label in zip(pictures.astype(int).tolist(), labels.tolist(), strict=True):
        writer.writerow([*picture, label])
print(f"wrote {path}: {len(labels)} digits")
