# Stage 3a, class images: what the pretrained model draws for each class of subjects, for prior preservation (DreamBooth).
# In:  the model's manifest.
# Out: resources/class_images/{noun}.tar, once per class, whatever the number of subjects, runs and seeds that train on it;
#      in shards, like generation.


localrules:
    gather_class_images,


rule generate_class_images:
    input:
        model=lambda wc: f"<resources>/models/{config['tasks']['subject']['model']}.manifest.json",
    output:
        shard=temp("<resources>/class_images/{noun}.shard{shard}-of-{n_shards}.tar"),
    log:
        "<logs>/class_images/{noun}/shard{shard}-of-{n_shards}.log",
    benchmark:
        "<logs>/class_images/{noun}/shard{shard}-of-{n_shards}.benchmark.tsv"
    conda:
        "../envs/hra.yaml"
    threads: lambda wc: config["tasks"]["subject"]["generation"]["resources"]["threads"]
    resources:
        nodes=1,
        gpu=lambda wc: config["tasks"]["subject"]["generation"]["resources"]["gpu"],
        mem_mb=lambda wc, attempt: grid.resource(
            config["tasks"]["subject"]["generation"]["resources"], "mem_mb", None, attempt
        ),
        runtime=lambda wc: config["tasks"]["subject"]["generation"]["resources"]["runtime"],
    params:
        prompts=lambda wc: [subjects.training_prompts(config, subjects.nouns(config)[wc.noun])["class"]],
        seed=lambda wc: config["tasks"]["subject"]["class_images"]["seed"],
        sampling=lambda wc: subjects.class_sampling(config),
        device=lambda wc: config["tasks"]["subject"]["generation"]["resources"].get("device"),
        finished=f"{config['pathvars']['scratch']}/class_images/{{noun}}/finished",
        scratch=f"{config['pathvars']['scratch']}/class_images/{{noun}}/shard{{shard}}-of-{{n_shards}}",
    script:
        "../workflow/scripts/generate_class_images.py"


rule gather_class_images:
    input:
        shards=lambda wc: collect(
            "<resources>/class_images/{noun}.shard{shard}-of-{n_shards}.tar",
            shard=range(config["tasks"]["subject"]["class_images"]["shards"]),
            n_shards=config["tasks"]["subject"]["class_images"]["shards"],
            allow_missing=True,
        ),
    output:
        images="<resources>/class_images/{noun}.tar",
    log:
        "<logs>/class_images/{noun}/gather.log",
    conda:
        "../envs/hra.yaml"
    params:
        steps=[0],
        prompts=lambda wc: [subjects.training_prompts(config, subjects.nouns(config)[wc.noun])["class"]],
        images=lambda wc: config["tasks"]["subject"]["class_images"]["images"],
    script:
        "../workflow/scripts/gather_images.py"
