"""The command `hra-workflow`: its interface (main.py), Snakemake's commands (project.py), and what needs no Snakemake.

Packages add commands: an entry point of the group `hra_workflow.commands` is a click.Command. Modules with commands
import what takes time in their functions, so that a help text is printed within 0.3 s.
"""
