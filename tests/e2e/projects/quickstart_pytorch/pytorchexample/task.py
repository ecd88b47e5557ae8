"""The model, the data and the training of the project."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

TEST_IMAGES = 360


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 2 * 2, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = self.pool(torch.relu(self.conv1(images)))
        seen = self.pool(torch.relu(self.conv2(seen)))
        return self.fc2(torch.relu(self.fc1(seen.flatten(1))))


def digits() -> TensorDataset:
    images, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(images / 16.0).float().view(-1, 1, 8, 8), torch.tensor(labels))


def load_data(partition_id: int, num_partitions: int, batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Return this partition's training and test batches."""
    everything = digits()
    mine = range(TEST_IMAGES + partition_id, len(everything), num_partitions)
    partition = torch.utils.data.Subset(everything, list(mine))
    train_set, test_set = random_split(partition, [0.8, 0.2], torch.Generator().manual_seed(0))
    return DataLoader(train_set, batch_size=batch_size, shuffle=True), DataLoader(test_set, batch_size=batch_size)


def load_centralized_dataset() -> DataLoader:
    return DataLoader(torch.utils.data.Subset(digits(), range(TEST_IMAGES)), batch_size=128)


def train(net: nn.Module, batches: DataLoader, epochs: int, lr: float, device: torch.device) -> float:
    """Train ``net`` and return its mean loss."""
    net.to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    total = 0.0
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / (epochs * len(batches))


def test(net: nn.Module, batches: DataLoader, device: torch.device) -> tuple[float, float]:
    """Return the mean loss and the accuracy of ``net``."""
    net.to(device).eval()
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in batches:
            outputs = net(images.to(device))
            loss += nn.functional.cross_entropy(outputs, labels.to(device)).item()
            right += int((outputs.argmax(1).cpu() == labels).sum())
            count += len(labels)
    return loss / len(batches), right / count
