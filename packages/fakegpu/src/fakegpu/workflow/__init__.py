"""`make rehearse`: run every kind of job of the workflow on a fake GPU (__main__.py), each in a process (job.py).

findings.py reports the results, and saves what `make plan` reads. cards.py and published/ make the numbers of gpus.md.
"""
