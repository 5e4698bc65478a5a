"""The operation for which PEFT's BOFT builds a CUDA extension, in plain PyTorch, and a fast product of its factors.

If the extension does not load, PEFT builds every BOFT layer with a single butterfly factor, regardless of the config,
and a killed build leaves a lock on which the next one waits. After `install`, nothing is built.
"""

from functools import wraps

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


def orders(layer) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the permutation of each factor, and its inverse, as indices (n,), from PEFT's dense matrices."""
    known = getattr(layer, "orders", None)
    if known is None or known[0][0].device != layer.boft_P.device:
        layer.orders = known = [(P.argmax(1), P.argmax(0)) for P in layer.boft_P]
    return known


def rotation(layer, adapter: str, like: torch.Tensor) -> torch.Tensor:
    """Compute the product (n, n) of an adapter's factors P B Pᵀ (arXiv 2311.06243) in the dtype of `like`.

    A factor combines the rows of the product so far in its blocks: m n² b operations, where dense matrices take m n³.
    """
    blocks = layer.boft_R[adapter]
    m, count, b, _ = blocks.shape
    blocks = layer.cayley_batch(blocks.view(m * count, b, b)).view(m, count, b, b)
    product = torch.eye(count * b, device=like.device, dtype=like.dtype)
    for factor, (order, inverse) in zip(layer.boft_dropout[adapter](blocks).to(like), orders(layer), strict=True):
        product = torch.bmm(factor, product[inverse].view(count, b, -1)).view(count * b, -1)[order]
    return product


def fast(dense):
    """Replace the forward pass of PEFT's Linear layer for a single adapter."""

    @wraps(dense)
    def forward(self, x, *arguments, **keywords):
        adapters = [name for name in self.active_adapters if name in self.boft_R]
        if self.disable_adapters or self.merged or len(adapters) != 1:
            return dense(self, x, *arguments, **keywords)
        result, bias = self.base_layer(x @ rotation(self, *adapters, x).to(x.dtype), *arguments, **keywords), 0
        if self.base_layer.bias is not None:
            bias = self.base_layer.bias
        return ((result - bias) * self.boft_s[adapters[0]].squeeze(-1) + bias).to(x.dtype)

    return forward


def install() -> None:
    """Make PEFT use this module instead of building its extension. A second call has no effect.

    PEFT's pull request 3540 has no extension and multiplies activations by the blocks; then nothing is replaced.
    """
    from peft.tuners.boft import layer

    if not hasattr(layer, "_FBD_CUDA"):
        return
    layer._FBD_CUDA = BlockDiagonal
    if not hasattr(layer.Linear.forward, "__wrapped__"):
        layer.Linear.forward = fast(layer.Linear.forward)
