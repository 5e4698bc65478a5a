# Turn diffusers' training scripts for LoRA into scripts for HRA: sed -Ei -f diffusers.sed SCRIPT
s/^from peft import LoraConfig(.*)/import hra\nfrom peft import HRAConfig, inject_adapter_in_model\1\n\nhra.install()/
s/\bLoraConfig\(/HRAConfig(/
# options that only LoRA has
/^ *"?(lora_alpha|lora_dropout|init_lora_weights)"?[=:]/d
/_collate_lora_metadata\(modules/d
# add_adapter of transformers requires a later PEFT
s/(text_encoder[a-z_]*)\.add_adapter\((.*)\)/inject_adapter_in_model(\2, \1)/
# checkpoints keep the vectors of HRA, the last step exports the equivalent LoRA
s/= convert_state_dict_to_diffusers\(/= (/
s/get_peft_model_state_dict\(((unwrapped_)?unet|transformer|text_encoder[a-z_]*)(\.to\(torch\.float32\))?\)/hra.to_lora(\1)[1]/
