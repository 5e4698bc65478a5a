"""Write an untrained HRA adapter to the folder start, which LLaMA-Factory continues."""

import peft
import transformers

import hra

hra.install()
model = transformers.AutoModelForCausalLM.from_pretrained("MODEL")
config = peft.HRAConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
peft.get_peft_model(model, config).save_pretrained("start")
