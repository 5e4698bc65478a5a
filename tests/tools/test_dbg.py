from test_trl import *
from test_trl import trained, model
from hra import *
def test_dbg(trained, model, tmp_path):
    trained(SFT, rows("prompt","completion"), learning_rate=0.1, max_steps=5)
    for kind in ("hra",):
        m = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), tmp_path/"adapter", is_trainable=True)
        args = trl.DPOConfig(output_dir=str(tmp_path), max_steps=2, use_cpu=True, bf16=False, report_to=[], learning_rate=1e-6, logging_steps=1)
        t = trl.DPOTrainer(m, args=args, train_dataset=Dataset.from_list(rows("prompt","chosen","rejected")))
        for n,p in t.model.named_parameters():
            if "q_proj.hra" in n or "down_proj.hra" in n: print(n, p.requires_grad, p.flatten()[:3])
        t.train()
