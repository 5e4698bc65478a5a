"""`hra-workflow rehearse`: run every kind of job on a fake GPU (__main__.py), each in a process (job.py).

findings.py reports the results, and saves what the plan reads. cards.py and published/ make the numbers of gpus.md.
"""
