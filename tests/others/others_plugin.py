"""pytest plugin of others' tests: this package's layers, and what could not be run, by its reason."""

import copy
import json
import os
import re
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from suites import SUITES

SUITE = next(suite for suite in SUITES if suite.name == os.environ["OTHERS_SUITE"])
# A test is not run for one of these reasons if it is skipped, or fails, with a message that matches.
NOT_RUN = {
    "Hub": r"OfflineModeIsEnabled|LocalEntryNotFound|offline mode|couldn't connect to|connect to the Hub|Offline",
    "CUDA": r"(?i)cuda|\bgpu\b|accelerator",
    "PEFT": r"version of PEFT you are using is not compatible|test requires PEFT",
}
counts: Counter[str] = Counter()
names: dict[str, list[str]] = defaultdict(list)


def reason(text: str) -> str | None:
    """Return the key of NOT_RUN whose pattern is in the text."""
    return next((key for key, pattern in NOT_RUN.items() if re.search(pattern, text)), None)


def errors(error: BaseException | None) -> str:
    """Return types and messages of an exception and of those that led to it."""
    text = ""
    while error is not None:
        text += f"{type(error).__name__}: {error}\n"
        error = error.__cause__ or error.__context__
    return text


def export_instead(module, config, adapter_name: str | None = "default") -> None:
    """Load the exported file of a random HRA adapter where a test adds a LoRA with random weights."""
    import peft
    from diffusers.loaders import StableDiffusionLoraLoaderMixin
    from diffusers.utils.peft_utils import recurse_remove_peft_layers
    from safetensors.torch import load_file

    import hra

    denoiser = hasattr(module, "load_lora_adapter")
    model = recurse_remove_peft_layers(copy.deepcopy(module))
    vars(model).pop("peft_config", None)
    hra_config = peft.HRAConfig(r=config.r, target_modules=config.target_modules, init_weights=False)
    peft.inject_adapter_in_model(hra_config, model)
    with tempfile.TemporaryDirectory() as folder:
        component = "unet" if hasattr(module, "down_blocks") else "transformer" if denoiser else "text_encoder"
        hra.to_lora(model, folder, component=component)
        if denoiser:
            module.load_lora_adapter(folder, prefix=component, use_safetensors=True, adapter_name=adapter_name)
        else:
            state = load_file(Path(folder, "pytorch_lora_weights.safetensors"))
            StableDiffusionLoraLoaderMixin.load_lora_into_text_encoder(
                state, None, module, prefix=component, adapter_name=adapter_name
            )


def pytest_configure() -> None:
    if SUITE.slurm:
        return
    import hra

    hra.install()
    if SUITE.package == "diffusers":
        import diffusers.loaders
        import transformers.integrations.peft

        diffusers.loaders.PeftAdapterMixin.add_adapter = export_instead
        transformers.integrations.peft.PeftAdapterMixin.add_adapter = export_instead
    import datasets
    import stand_ins

    datasets.load_dataset = stand_ins.load_dataset


def pytest_collection_modifyitems(items) -> None:
    if SUITE.package == "peft":
        from tests import testing_utils

        class All(defaultdict):
            def __contains__(self, name):
                return True

        testing_utils._HUB_MODEL_ACCESSES = All(int)  # PEFT's tests go online for a model that is not in it
    for item in items:
        for part, why in (SUITE.differs | SUITE.anyway).items():
            if part in item.nodeid:
                item.add_marker(pytest.mark.xfail(reason=why, strict=True))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and call.excinfo is not None and (found := reason(errors(call.excinfo.value))) in {"Hub", "PEFT"}:
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, f"not run: {found}")
        report.not_run = found


def pytest_runtest_logreport(report) -> None:
    """Count each test once, in the process that starts the others."""
    if report.when != "call" and report.passed:
        return
    if hasattr(report, "wasxfail") and report.skipped:  # expected to fail here, in any case, or by the suite itself
        expected = {"differs": SUITE.differs, "anyway": SUITE.anyway}
        kind = next((key for key, reasons in expected.items() if report.wasxfail in reasons.values()), "skipped")
    elif report.skipped:
        kind = getattr(report, "not_run", None) or reason(str(report.longrepr)) or "skipped"
    else:
        kind = report.outcome
    counts[kind] += 1
    why = f": {report.longrepr[-1]}" if isinstance(report.longrepr, tuple) else ""
    names[kind].append(report.nodeid + why)


def pytest_sessionfinish(session) -> None:
    if not hasattr(session.config, "workerinput"):
        Path(os.environ["OTHERS_COUNTS"]).write_text(json.dumps({"counts": counts, "names": names}, indent=1))
