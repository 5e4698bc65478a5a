"""`hra inspect | to-lora | merge`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from sidebyside import close

import hra
from hra.__main__ import main

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "workflow/pictures-sd/tokenizer"


def test_to_lora_and_merge_write_what_others_load(saved, capsys):
    from transformers import AutoModelForCausalLM

    folder, model = saved
    tokens = torch.randint(0, 50, (2, 7))
    (folder / "lora").mkdir()  # an empty folder is not in the way
    main(["to-lora", str(folder / "adapter"), str(folder / "lora"), "--base", str(folder / "base")])
    assert "lora: a LoRA adapter of rank 4 on 2 layers, for PeftModel" in capsys.readouterr().out
    main(["merge", str(folder / "adapter"), str(folder / "merged")])
    assert json.loads((folder / "lora/adapter_config.json").read_text())["peft_type"] == "LORA"
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    close(PeftModel.from_pretrained(base, folder / "lora")(tokens).logits, model(tokens).logits, 24)
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    close(merged(tokens).logits, model(tokens).logits, 24)


def test_merge_writes_tokenizer_processor_and_generation_config(saved, capsys):
    from transformers import AutoTokenizer, GenerationConfig

    folder, _ = saved
    shutil.copytree(TOKENIZER, folder / "base", dirs_exist_ok=True)
    (folder / "base/preprocessor_config.json").write_text('{"image_processor_type": "CLIPImageProcessor"}')
    (folder / "base/additional_chat_templates").mkdir()
    (folder / "base/additional_chat_templates/tools.jinja").write_text("{{ tools }}")
    (folder / "base/training_args.bin").write_text("not for others")
    GenerationConfig(max_new_tokens=7, do_sample=True, top_k=3).save_pretrained(folder / "base")
    (folder / "adapter/chat_template.jinja").write_text("{{ messages }}")
    (folder / "base/chat_template.jinja").write_text("the adapter was trained with another one")
    main(["merge", str(folder / "adapter"), str(folder / "merged")])
    base, merged = (AutoTokenizer.from_pretrained(folder / name) for name in ("base", "merged"))
    assert merged("a red cup")["input_ids"] == base("a red cup")["input_ids"] and len(merged) == len(base) > 100
    assert merged.chat_template == {"default": "{{ messages }}", "tools": "{{ tools }}"}
    assert GenerationConfig.from_pretrained(folder / "merged").max_new_tokens == 7
    for name in ("tokenizer.json", "preprocessor_config.json", "additional_chat_templates/tools.jinja"):
        assert (folder / "merged" / name).read_bytes() == (folder / "base" / name).read_bytes()
    assert not (folder / "merged/training_args.bin").exists()
    assert not (folder / "merged/adapter_config.json").exists()
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(f"wrote {folder}/merged: LlamaForCausalLM with {folder}/adapter merged (")
    assert "additional_chat_templates/, chat_template.jinja, config.json, generation_config.json, model.saf" in last


def test_to_lora_writes_the_adapters_own_tokenizer_only(saved, capsys):
    folder, _ = saved
    shutil.copytree(TOKENIZER, folder / "adapter", dirs_exist_ok=True)
    (folder / "base/chat_template.jinja").write_text("{{ messages }}")
    main(["to-lora", str(folder / "adapter"), str(folder / "lora")])
    assert capsys.readouterr().out.strip() == (
        f"wrote {folder}/lora: a LoRA adapter of rank 4 on 2 layers, for PeftModel.from_pretrained "
        "(adapter_config.json, adapter_model.safetensors, tokenizer.json, tokenizer_config.json)"
    )


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_written_weights_have_the_umask_s_rights(saved, mask):
    """safetensors 0.8 writes files that only their owner can read."""
    folder, _ = saved
    before = os.umask(mask)
    try:
        main(["to-lora", str(folder / "adapter"), str(folder / "lora")])
        main(["merge", str(folder / "adapter"), str(folder / "merged")])
    finally:
        os.umask(before)
    written = [path for name in ("lora", "merged") for path in (folder / name).iterdir()]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o666 & ~mask} and len(written) >= 5


def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch):
    mapping = write_mapping(tmp_path / "unet", "diffusers", "UNet2DModel")
    for name in [name for name in sys.modules if name.partition(".")[0] == "diffusers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(SystemExit, match=r"diffusers.*; install it with `pip install diffusers`"):
        main(["merge", str(mapping), str(tmp_path / "out")])


@pytest.mark.slow
def test_modules_in_the_working_directory_are_not_imported(saved, tmp_path):
    """`python -m` searches this folder first."""
    (work := tmp_path / "work").mkdir()
    for name in ("torch", "peft", "transformers", "json"):
        (work / f"{name}.py").write_text("open('imported', 'w').close()")
    command = [sys.executable, "-m", "hra", "merge", str(saved[0] / "adapter"), "out"]
    subprocess.run(command, cwd=work, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert (work / "out/model.safetensors").exists() and not (work / "imported").exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("--help", "inspect, export or merge an adapter"),
        ("rewind X out 0.5", "argument command: invalid choice: 'rewind'"),
        ("merge adapter out --base no/where/at-all", "base model no/where/at-all: expected a folder"),
    ],
)
def test_help_and_wrong_arguments_import_neither_torch_nor_peft(tmp_path, command, says):
    write_mapping(tmp_path / "adapter", "diffusers", "UNet2DModel")
    code = "import sys; sys.modules |= dict.fromkeys(('torch', 'peft')); from hra.__main__ import main; main()"
    run = [sys.executable, "-c", code, *command.split()]
    done = subprocess.run(run, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == (0 if command == "--help" else 2 if "rewind" in command else 1), output
    assert says in output, output


def test_the_package_has_its_public_names_before_they_are_imported():
    code = "import hra, sys; print('torch' in sys.modules, hasattr(hra, 'nothing'), *set(hra.__all__) - set(dir(hra)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
    assert hra.install.__module__ == hra.tuner.__name__ == "hra.tuner" and "install" in vars(hra)


# Names in adapter_config.json are not executed


def write_mapping(folder, library: str, name: str):
    config = {"peft_type": "HRA", "base_model_name_or_path": "base"}
    folder.mkdir()
    mapping = {"auto_mapping": {"parent_library": library, "base_model_class": name}}
    (folder / "adapter_config.json").write_text(json.dumps(config | mapping))
    return folder


@pytest.mark.parametrize("command", ["to-lora", "merge"])
@pytest.mark.parametrize(
    ("library", "name"),
    [("evil", "Model"), ("evil.transformers", "Model"), ("transformers", "os"), ("transformers", "Trainer")],
)
def test_an_adapter_cannot_name_other_code(tmp_path, monkeypatch, command, library, name):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    adapter = write_mapping(tmp_path / "adapter", library, name)
    message = rf"to name a model class of transformers or diffusers, found {library}.{name}\. Load"
    with pytest.raises(SystemExit, match=message):
        main([command, str(adapter), "out"])
    assert not (tmp_path / "ran").exists()
