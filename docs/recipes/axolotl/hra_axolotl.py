"""A plugin with which axolotl trains HRA."""

import peft
from axolotl.integrations.base import AdapterCapabilities, BasePlugin

import hra

hra.install()


class HRAPlugin(BasePlugin):
    def register(self, cfg):
        cfg["merge_method"] = "legacy"  # axolotl's other one expects the weights of a LoRA
        if cfg.get("load_in_4bit") or cfg.get("load_in_8bit"):
            raise ValueError("axolotl quantises only for its own adapters: remove load_in_4bit and load_in_8bit.")

    def get_adapter_capabilities(self):
        return [AdapterCapabilities(name="hra")]

    def load_adapter(self, model, cfg, inference=False, config_only=False):
        options = {"target_modules": cfg.lora_target_modules, "modules_to_save": cfg.lora_modules_to_save}
        config = peft.HRAConfig(r=cfg.lora_r, task_type="CAUSAL_LM", **options)
        if config_only or not cfg.lora_model_dir:
            return (None if config_only else peft.get_peft_model(model, config)), config
        return peft.PeftModel.from_pretrained(model, cfg.lora_model_dir, is_trainable=not inference), config

    def add_callbacks_pre_trainer(self, cfg, model):
        return [hra.OrthogonalityCallback(1e-4)]  # λ; without this method: 0
