"""Rehearsal: a job of the workflow at its real size, on a CUDA device that exists for torch's FakeTensorMode only.

Tensors on the device have shapes, dtypes and an address, but no content, so a job takes minutes on two cores and no
memory of a GPU. What is observed: the peak memory and what it consists of, every wait of the host for the device with
its line, a tensor on the wrong device or of the wrong dtype, memory that a step does not give back, and operations in
float64 that are not the library's own.

    python -m hra_workflow.rehearsal SCRIPT JOB.json RESULT.json --card h100

A process rehearses one job, since most of torch.cuda is replaced in it. The rules: fake_mode.py; what libraries must be
told: libraries.py; what waits: waits.py; the device: cuda.py and guard.cpp; what is counted: observer.py, and
float64.py, with the time it takes: timing.py, and where: lines.py.
"""
