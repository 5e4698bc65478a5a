# The demo's language model, trained from nothing: a LLaMA of one million parameters that solves word problems of one step.
# In:  nothing; its texts are generated (word_problems in workflow/scripts/common/generators/).
# Out: weights, config and tokenizer. The copy in workflow/word-problems-llama/ is this rule's output, committed; no table
#      needs the rule. Make it again with
#      snakemake --cores 1 resources/pretrained/word-problems-llama/model.safetensors


rule pretrain_word_problems:
    output:
        weights="<resources>/pretrained/word-problems-llama/model.safetensors",
        config="<resources>/pretrained/word-problems-llama/config.json",
        tokenizer="<resources>/pretrained/word-problems-llama/tokenizer.json",
    log:
        "<logs>/pretrain/word-problems-llama.log",
    conda:
        "../envs/hra.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        rows=60000,
        seed=0,
        vocabulary=512,
        model=dict(
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=256,
        ),
        training=dict(
            num_train_epochs=2,
            per_device_train_batch_size=16,
            learning_rate=2e-3,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
        ),
    script:
        "../workflow/scripts/pretrain_word_problems.py"
