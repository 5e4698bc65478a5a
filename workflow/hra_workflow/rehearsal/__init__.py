"""Rehearsal: a job of the workflow at its real size, on a CUDA device that exists only for torch's FakeTensorMode.

Tensors on the device have shapes, dtypes and an address, but no content, so a job takes minutes on two cores and no
memory of a GPU. A rehearsal reports the peak memory and its parts, every wait of the host for the device with its line,
tensors on the wrong device or of the wrong dtype, memory that a step does not free, and operations in float64 outside
of `hra`.

    python -m hra_workflow.rehearsal SCRIPT JOB.json RESULT.json --card h100

A process rehearses one job, since most of torch.cuda is replaced in it. fake_mode.py has the rules of fake tensors,
libraries.py the changes of libraries, waits.py the operations that wait, cuda.py and guard.cpp the device, observer.py
and float64.py the counts, timing.py the estimated time, and lines.py the lines of code.
"""
