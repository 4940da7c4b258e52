"""PixelCNN++."""
