"""ResNet-18 for small images.  He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016."""

from torch import nn
from torchvision.models import resnet18


def ResNet18(channels: int = 3, size: int = 32, num_classes: int = 10) -> nn.Module:  # noqa: N802 (a model's name)
    """Return torchvision's ResNet-18, changed for images of about 32 x 32; 11,173,962 parameters for CIFAR-10.

    The first convolution is 3 x 3 with stride 1 and the first pooling is left out, as is usual for CIFAR-10; the
    thesis on GAN balancing (3.2.2, 5.1.2) says "modified to suit CIFAR-10" and no more.

    Args:
        channels: channels of an image.
        size: height and width of an image in pixels, at least 16: below, BatchNorm cannot train on a batch of one.
        num_classes: number of outputs.
    """
    if size < 16:
        raise ValueError(f"ResNet-18 needs images of at least 16 x 16 pixels; got {size} x {size}.")
    model: nn.Module = resnet18(num_classes=num_classes)
    model.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model
