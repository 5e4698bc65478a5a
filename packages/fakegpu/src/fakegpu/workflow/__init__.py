"""`hra-workflow rehearse`: run every kind of job on a fake GPU (commands.py, probes.py), each in a process (job.py).

findings.py reports the results, and saves what the plan reads. cards.py and published/ make the numbers of gpus.md.
"""
