# The demo's models, trained from scratch: a LLaMA with one million parameters that solves one-step word problems, and a
# Stable Diffusion with four million parameters that generates simple images from captions.
# In:  nothing; texts and captioned images are synthetic (workflow/hra_workflow/demo/).
# Out: weights, configs and tokenizers. The outputs of these rules, up to rounding, are committed in
#      workflow/word-problems-llama/ and workflow/pictures-sd/; no table depends on the rules. To retrain the models:
#      snakemake --cores 1 resources/pretrained/word-problems-llama/model.safetensors
#      snakemake --cores 1 resources/pretrained/pictures-sd/model_index.json


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


rule pretrain_stable_diffusion:
    output:
        index="<resources>/pretrained/pictures-sd/model_index.json",
    log:
        "<logs>/pretrain/pictures-sd.log",
    conda:
        "../envs/hra.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        seed=0,
        rows=12000,
        model=dict(
            text_encoder=dict(
                hidden_size=96,
                intermediate_size=192,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=32,
            ),
            unet=dict(block_out_channels=[48, 96, 96], attention_head_dim=[1, 2, 2], norm_num_groups=8),
            vae=dict(block_out_channels=[16, 32, 64], norm_num_groups=2, mid_block_add_attention=False),
        ),
        autoencoder=dict(crop_steps=4000, steps=500, batch_size=16, crop=32, learning_rate=1e-3, kl=1e-5),
        denoiser=dict(batch_size=32, learning_rate=1e-3, ema=0.999, unconditional=0.1, save_steps=250),
        phases=[
            dict(steps=6000, schedule="constant_with_warmup"),
            dict(steps=4000, schedule="cosine"),  # sharpens shapes and patterns
        ],
    script:
        "../workflow/scripts/pretrain_stable_diffusion.py"
