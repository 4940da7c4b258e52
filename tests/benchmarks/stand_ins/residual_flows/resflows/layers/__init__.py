"""Stands in for the layers that are named to the released model."""


class LogitTransform:
    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
