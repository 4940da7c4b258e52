"""Stands in for the released network: its name and its sizes, around ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from flowbench_models.nets.unet import UNet


class UNetModelWrapper(nn.Module):
    def __init__(
        self,
        dim: tuple[int, int, int],
        num_channels: int,
        num_res_blocks: int,
        channel_mult: list[int],
        attention_resolutions: str,
        num_head_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.net = UNet(
            dim[0],
            dim[0],
            width=num_channels,
            multipliers=channel_mult,
            blocks=num_res_blocks,
            attention=(dim[1] // int(attention_resolutions),),
            head_channels=num_head_channels,
            dropout=dropout,
        )

    def forward(self, t: Tensor, x: Tensor, y: Any = None) -> Tensor:
        assert y is None
        out: Tensor = self.net(t, x)
        return out
