"""What malicious clients do, as functions of images, labels and updates. Nothing here knows Flower or Ray."""
