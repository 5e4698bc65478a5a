"""Run a training script at its real size on a CUDA device that exists only for torch's FakeTensorMode.

Tensors on the device have shapes, dtypes and an address, but no content, so a script takes minutes on two cores and no
memory of a GPU. It reports the peak memory and its parts, the estimated time, every wait of the host for the device
with its line, tensors on the wrong device or of the wrong dtype, memory that a step does not free, and operations in
float64.

    python -m fakegpu train.py                                     any script; prints a report
    python -m fakegpu SCRIPT JOB.json OUT.json --card h100         a module with `main(job)`; writes a JSON file

A process runs one script, since most of torch.cuda is replaced in it. run.py calls the script and has the settings of
a job, fake_mode.py the rules of fake tensors, libraries.py the changes of libraries, waits.py the operations that wait,
cuda.py and guard.cpp the device, observer.py and float64.py the counts, timing.py the estimated time, lines.py the
lines of code, and report.py the text. `fakegpu.workflow` is `hra-workflow rehearse` of the workflow of HRA.
"""
