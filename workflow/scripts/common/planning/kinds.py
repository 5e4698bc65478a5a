"""The kinds of methods that each task can run; the dry-run refuses the others.

Plain Python: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from common.tasks.subject.task import IDLE

ADAPTERS = ("hra", "lora", "oft", "boft", "adalora")
OF_TASK = {
    "glue": (*ADAPTERS, "full", "bitfit", "head"),
    "math": (*ADAPTERS, "full", "pretrained"),
    # Without AdaLoRA, whose ranks are allocated between the steps of the transformers Trainer that the two above use.
    "subject": ("hra", "lora", "oft", "boft", "full", "bitfit", *IDLE),
    "control": ("hra", "lora", "oft", "boft", "full", "bitfit", "head", "controlnet", *IDLE),  # head: the hint encoder
}
