"""Stable Diffusion 3 and 3.5 (arXiv 2403.03206): a transformer of image and text with two or three text encoders."""

from hra_workflow.models.diffusion import flow_matching

T5_TOKENS = 256  # the default of diffusers' pipeline


class StableDiffusion3(flow_matching.FlowMatching):
    """T5's files, with 4.7 billion parameters, may be missing; its embeddings are then zeros."""

    name = "stable-diffusion-3"
    network = "SD3Transformer2DModel"
    optional = ("text_encoder_3", "tokenizer_3")
    weighting = "logit_normal"

    def encode_prompts(self, pipe, prompts, device):
        pipe.transformer = self.load(weights=False)  # its config has the size of T5's embeddings
        text, _, pooled, _ = pipe.encode_prompt(
            prompts, None, None, device=device, do_classifier_free_guidance=False, max_sequence_length=T5_TOKENS
        )
        return {"encoder_hidden_states": text, "pooled_projections": pooled}

    def token_limits(self, pipe):
        """Return T5's limit, since T5 reads what CLIP's encoders ignore; without T5, return CLIP's limits."""
        if pipe.tokenizer_3 is not None:
            return [(pipe.tokenizer_3, T5_TOKENS)]
        return [(one, one.model_max_length) for one in (pipe.tokenizer, pipe.tokenizer_2)]

    def predict(self, model, noisy, times, conditions, **further):
        return model(noisy, timestep=times, return_dict=False, **conditions, **further)[0]
