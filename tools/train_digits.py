"""Trains the small network that `resnet-twins demo` shows, and writes it and its test images into `shared/assets`.

    python tools/train_digits.py

Data: scikit-learn's digits, 1797 grey images of 8x8 pixels with values 0 to 16 (UCI Optical Recognition of
Handwritten Digits, test part, CC BY 4.0). Every fifth image is held out; the demo shows those only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from resnet_torch import create_model, save_weights

ASSETS = Path(__file__).parents[1] / "shared" / "assets"
EPOCHS, BATCH, LEARNING_RATE, SEED = 60, 64, 0.1, 0


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images (N, 8, 8) of whole numbers 0 to 16, labels (N,), and which of them are held out."""
    data = load_digits()
    held_out = np.arange(len(data.target)) % 5 == 0
    return data.images.astype(np.uint8), data.target.astype(np.uint8), held_out


def train() -> None:
    """Train with SGD, momentum 0.9, weight decay 5e-4, a cosine schedule and shifts by up to one pixel."""
    torch.set_num_threads(1)  # another number of threads adds up in another order
    images, labels, held_out = digits()
    x = torch.tensor(images[~held_out] / 8.0 - 1.0, dtype=torch.float32)[:, None]
    y = torch.tensor(labels[~held_out], dtype=torch.int64)
    model = create_model("resnet8_digits", seed=SEED)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
    for epoch in range(EPOCHS):
        rng = np.random.default_rng([SEED, epoch])
        order = rng.permutation(len(x))
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            padded = F.pad(x[batch], (1, 1, 1, 1), value=-1.0)
            dy, dx = rng.integers(0, 3, 2)
            loss = F.cross_entropy(model(padded[:, :, dy : dy + 8, dx : dx + 8]), y[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    save_weights(model, ASSETS / "resnet8_digits.safetensors")
    with torch.no_grad():
        test = torch.tensor(images[held_out] / 8.0 - 1.0, dtype=torch.float32)[:, None]
        right = model.eval()(test).argmax(1).numpy() == labels[held_out]
    print(f"{right.sum()} of {len(right)} held-out digits right ({right.mean():.2%})")


def write_images() -> None:
    """Write the held-out images and their labels as one array (N, 65): 64 pixels, then the label."""
    images, labels, held_out = digits()
    table = np.concatenate([images.reshape(-1, 64), labels[:, None]], axis=1)[held_out]
    np.save(ASSETS / "digits_test.npy", table)


if __name__ == "__main__":
    write_images()
    train()
