"""Fake tensors on the device and real ones on the CPU: copies to the host wait, and contain 0.5, or 0 for integers."""

import contextlib

from fakegpu import libraries, waits


@contextlib.contextmanager
def entered(torch, observer):
    """Run the body on the fake device."""
    from torch._subclasses import fake_impls
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    aten = torch.ops.aten

    class Fake(FakeTensorMode):
        avoid_device_init = property(lambda self: True)

    class Mixed(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            leaves = tree_leaves((args, kwargs))
            if not any(isinstance(leaf, FakeTensor) or is_cuda(leaf) for leaf in leaves):
                with unset_fake_temporarily():
                    return function(*args, **kwargs)
            if function in (aten._to_copy.default, aten.copy_.default):
                source = args[0] if function is aten._to_copy.default else args[1]
                to = kwargs.get("device") if function is aten._to_copy.default else args[0].device
                if isinstance(source, FakeTensor) and source.is_cuda and to is not None and not is_cuda(to):
                    observer.wait("copy to the host")
                    with unset_fake_temporarily():
                        if function is aten.copy_.default:
                            copied = args[0]
                        else:
                            copied = torch.empty(source.shape, dtype=kwargs.get("dtype") or source.dtype)
                        # An image of zeros would count as blocked by the safety checker.
                        return copied.fill_(0.5 if copied.is_floating_point() else 0)
            # The overloads with a dtype sum products of bfloat16 in float32.
            if function.overloadpacket in products and "dtype" not in function._overloadname:
                same_dtype(function, args)
            waits.before(torch, observer, function, args, kwargs)
            result = function(*args, **kwargs)
            if function.namespace == "aten":
                observer.count(function, args, kwargs, result)
            for leaf in tree_leaves(result):
                if isinstance(leaf, FakeTensor) and leaf.is_cuda:
                    observer.add(leaf)
            return result

    products = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution)

    def same_dtype(function, arguments) -> None:
        """Raise RuntimeError for different dtypes, as the kernels do, but not the computation of shapes."""
        dtypes = {str(value.dtype) for value in arguments if isinstance(value, torch.Tensor)}
        if len(dtypes) > 1:
            raise RuntimeError(f"{function}: expected tensors of the same dtype, found {' and '.join(sorted(dtypes))}")

    def is_cuda(value) -> bool:
        if isinstance(value, str):
            return value.startswith("cuda")
        return isinstance(value, torch.device) and value.type == "cuda"

    waits.prepare(torch, fake_impls, observer)
    libraries.prepare(torch, FakeTensor, unset_fake_temporarily, observer)
    with Fake(allow_non_fake_inputs=True), Mixed():
        yield
