"""The results of operations that the host waits for, since it needs their values.

They are 0.5, 1 for integers, False, and one element if the number of elements depends on values.
"""

TO_DEVICE = "copy to the device"
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put")


def prepare(torch, fake_impls, observer) -> None:
    """Make torch's fake tensors return these results, and the observer count the waits."""
    aten = torch.ops.aten

    def awaited(what: str):
        def register(answer):
            def implementation(mode, function, tensor, *arguments, **keywords):
                if tensor.is_cuda:
                    observer.wait(what)
                with mode:
                    return answer(tensor, *arguments, **keywords)

            return implementation

        return register

    @awaited("item()")
    def item(tensor):
        if tensor.constant is not None:
            return tensor.constant.item()
        if tensor.dtype == torch.bool:
            return False
        return 0.5 if tensor.dtype.is_floating_point else 1

    @awaited("nonzero()")
    def nonzero(tensor):
        return tensor.new_zeros(1, max(1, tensor.dim()), dtype=torch.int64)

    @awaited("masked_select()")
    def masked_select(tensor, mask):
        return tensor.new_zeros(1)

    @awaited("unique()")
    def unique(tensor, *_, **__):
        return tensor.new_zeros(1), tensor.new_zeros(tensor.shape, dtype=torch.int64), tensor.new_ones(1).long()

    @awaited("bincount()")
    def bincount(tensor, weights=None, minlength=0):
        return tensor.new_zeros(max(2, minlength), dtype=tensor.dtype if weights is None else weights.dtype)

    @awaited("repeat_interleave()")
    def repeats(tensor):
        return torch.arange(len(tensor), device=tensor.device)

    def repeat_interleave(mode, function, tensor, output_size=None):
        if output_size is None:
            return repeats(mode, function, tensor)
        with mode:
            return tensor.new_zeros(output_size, dtype=torch.int64)

    @awaited("equal()")
    def equal(*_, **__):
        return True

    fake_impls.op_implementations_dict |= {
        aten._local_scalar_dense.default: item,
        aten.nonzero.default: nonzero,
        aten.masked_select.default: masked_select,
        aten._unique2.default: unique,
        aten.unique_consecutive.default: unique,
        aten.bincount.default: bincount,
        aten.repeat_interleave.Tensor: repeat_interleave,
        aten.equal.default: equal,
        aten.allclose.default: equal,
    }


def before(torch, observer, function, arguments: tuple, keywords: dict) -> None:
    """Count the waits of an operation on the device whose result torch computes without values.

    A copy to the device waits for the queue unless it is non-blocking (PyTorch: ATen/native/cuda/Copy.cu); a write
    through a mask does not wait if it writes one number of the host (ATen/native/TensorAdvancedIndexingUtils.h).
    """
    name = function.overloadpacket.__name__
    if name == "_linalg_check_errors":
        observer.wait("check of a factorisation")
    elif name == "_to_copy":
        blocking = not keywords.get("non_blocking")
        if blocking and on_cpu(arguments[0]) and torch.device(keywords.get("device") or "cpu").type == "cuda":
            observer.wait(TO_DEVICE)
    elif name == "copy_":
        blocking = not (arguments[2] if len(arguments) > 2 else keywords.get("non_blocking"))
        if blocking and on_cpu(arguments[1]) and arguments[0].is_cuda:
            observer.wait(TO_DEVICE)
    elif name in INDEXING:
        tensor, indices, *values = arguments[:3]
        filled = values and values[0].numel() == 1 and on_cpu(values[0])
        for index in indices:
            if index is not None and tensor.is_cuda and on_cpu(index):
                observer.wait(TO_DEVICE)
            if values and not filled and index is not None and index.dtype in (torch.bool, torch.uint8):
                observer.wait("nonzero()")


def on_cpu(tensor) -> bool:
    return tensor.device.type == "cpu"
