"""What a GAN is shown: its client's images, evenly of the classes that the client has, and shifted at random."""

import torch


class BalancedBatches:
    """Batches of a client's images, evenly of its classes.

    The classes take turns, over the whole training, so that no two of them differ by more than one image in what was
    shown so far. Within its class each image is as likely as any other; a class of five images shows those five.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        batch_size: images in a batch.
        generator: CPU generator of the draws, so that they are the same on every device.
    """

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, batch_size: int, generator: torch.Generator) -> None:
        self.images = images
        self.batch_size = batch_size
        self.generator = generator
        counts = labels.cpu().bincount()
        self.classes = counts.nonzero().squeeze(1)
        counts = counts[self.classes]
        self.order = labels.cpu().argsort(stable=True)
        self.counts = counts
        self.starts = counts.cumsum(0) - counts
        self.shown = 0

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next batch: images (B, C, H, W) uint8 and their classes (B,), on the images' device."""
        turn = torch.arange(self.shown, self.shown + self.batch_size) % len(self.classes)
        self.shown += self.batch_size
        share = torch.rand(self.batch_size, generator=self.generator, dtype=torch.float64)
        chosen = self.order[self.starts[turn] + (share * self.counts[turn]).long()]
        device = self.images.device
        return self.images[chosen.to(device)], self.classes[turn].to(device)


def random_shifts(number: int, shift: int, generator: torch.Generator) -> torch.Tensor:
    """Return by how many pixels each of ``number`` images is moved down and right: (number, 2) in -shift to shift."""
    return torch.randint(-shift, shift + 1, (number, 2), generator=generator)


def shifted(images: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Return ``images`` (N, C, H, W) moved down and right by ``shifts`` (N, 2) pixels; gradients pass through.

    The rows and columns that come in repeat the edge, so that no bar tells how far an image was moved.
    """
    number, channels, height, width = images.shape
    shifts, device = shifts.to(images.device), images.device
    rows = (torch.arange(height, device=device) - shifts[:, :1]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=device) - shifts[:, 1:]).clamp_(0, width - 1)
    image = torch.arange(number, device=device)[:, None, None]
    pixels = ((image * height + rows[:, :, None]) * width + columns[:, None, :]).flatten()
    moved = images.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, pixels)
    return moved.view(number, height, width, channels).permute(0, 3, 1, 2)


def as_floats(images: torch.Tensor) -> torch.Tensor:
    """Return bytes as float32 in [-1, 1], the generator's range."""
    return images.float().div_(127.5).sub_(1)


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    """Return a generator's images in [-1, 1] as bytes."""
    return images.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
