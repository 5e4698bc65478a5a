"""The one operation of BOFT for which PEFT builds a CUDA extension, in plain PyTorch.

Where the extension does not load, PEFT builds every BOFT layer with a single butterfly factor, whatever the config
asks for, and a build that is killed leaves a lock that the next one waits on. With `install` nothing is built.
"""

import torch


class BlockDiagonal:
    """Stands in for the module `fbd_cuda`; see peft/tuners/boft/fbd. On any device, in any dtype."""

    @staticmethod
    def forward(blocks: torch.Tensor) -> list[torch.Tensor]:
        """(m, n, b, b) → one tensor (m, n b, n b) with the n blocks of each factor on its diagonal."""
        m, n, b, _ = blocks.shape
        placed = blocks.new_zeros(m, n, b, n, b)
        placed.diagonal(dim1=1, dim2=3).copy_(blocks.permute(0, 2, 3, 1))
        return [placed.view(m, n * b, n * b)]

    @staticmethod
    def backward(gradient: torch.Tensor, blocks: torch.Tensor) -> list[torch.Tensor]:
        """The blocks (m, n, b, b) on the diagonals of the gradient (m, n b, n b)."""
        m, n, b, _ = blocks.shape
        return [gradient.reshape(m, n, b, n, b).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).contiguous()]


def install() -> None:
    """Give PEFT this in place of its extension, so that it builds neither; harmless if repeated."""
    from peft.tuners.boft import layer

    layer._FBD_CUDA = BlockDiagonal
