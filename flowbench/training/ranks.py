"""What the processes of a training do together; here of the only one, which is the rule.

Of several see `flowbench.training.parallel`. This module is light: a worker has it before torch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from flowbench.api.models import GenerativeModel
    from flowbench.data.batches import TrainBatches
    from flowbench.training.compiled import Loss


class Ranks:
    """The only process of a training, which has nobody to agree with.

    Attributes:
        num: Processes of the training.
    """

    num = 1

    def agree(self, progress: float) -> float:
        """The progress of the next step, as rank 0 sees it."""
        return progress

    def part_of(self, batches: TrainBatches, parts: int) -> TrainBatches:
        """A stream of this process's part of each batch.

        Args:
            parts: Parts in which a batch goes through the model one after the other; of each of
                them a process has its own.
        """
        del parts
        return batches

    def drawing(self, size: int, parts: int = 1) -> AbstractContextManager[Any]:
        """What is drawn within the block for examples is what one process draws for all.

        Args:
            size: Examples that this process has.
            parts: Parts of the whole batch of each of which it has some.
        """
        del size, parts
        return nullcontext()

    def sharing(self, model: GenerativeModel, loss: Loss) -> Loss:
        """The loss, whose gradients are summed up over all processes."""
        del model
        return loss

    def summing(self, last: bool) -> AbstractContextManager[Any]:
        """Within the block gradients are summed up, if it is that of the last part of a batch."""
        del last
        return nullcontext()

    def part(self) -> None:
        """Ends what is held for being several."""

    def mean_loss(self, own: Tensor) -> Tensor:
        """The loss of a whole batch, after its last part went back through the model."""
        return own


ALONE = Ranks()
