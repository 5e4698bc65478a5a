"""The operation for which PEFT's BOFT builds a CUDA extension, in plain PyTorch.

If the extension does not load, PEFT builds every BOFT layer with a single butterfly factor, regardless of the config,
and a killed build leaves a lock on which the next one waits. After `install`, nothing is built.
"""

import torch


class BlockDiagonal:
    """Replaces the module `fbd_cuda` (see peft/tuners/boft/fbd), for any device and dtype."""

    @staticmethod
    def forward(blocks: torch.Tensor) -> list[torch.Tensor]:
        """Build one tensor (m, n b, n b) from (m, n, b, b), with the n blocks of each factor on its diagonal."""
        m, n, b, _ = blocks.shape
        placed = blocks.new_zeros(m, n, b, n, b)
        placed.diagonal(dim1=1, dim2=3).copy_(blocks.permute(0, 2, 3, 1))
        return [placed.view(m, n * b, n * b)]

    @staticmethod
    def backward(gradient: torch.Tensor, blocks: torch.Tensor) -> list[torch.Tensor]:
        """Extract the blocks (m, n, b, b) on the diagonals of the gradient (m, n b, n b)."""
        m, n, b, _ = blocks.shape
        return [gradient.reshape(m, n, b, n, b).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).contiguous()]


def install() -> None:
    """Make PEFT use this module instead of building its extension; calling it again has no effect."""
    from peft.tuners.boft import layer

    layer._FBD_CUDA = BlockDiagonal
