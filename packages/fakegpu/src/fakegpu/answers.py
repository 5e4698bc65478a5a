"""Generated answers, in transformers and TRL: fake ones never end."""

SAMPLED_TOKENS = 16


def sampled_answers(torch, observer, module) -> None:
    """Compute a few tokens of every answer, and count their time for all of them: with fake tokens, none ends."""

    def generate(self, input_ids=None, generation_config=None, max_new_tokens=None, **_):
        limit = max_new_tokens or generation_config.max_new_tokens
        started, ids, cache = observer.clock(), input_ids, None
        for _ in range(min(limit, SAMPLED_TOKENS)):
            found = self(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, ids = found.past_key_values, found.logits[:, -1:].argmax(-1)
        observer.clock.advance((observer.clock() - started) * max(0, limit / SAMPLED_TOKENS - 1))
        return torch.nn.functional.pad(input_ids, (0, limit), value=1)

    module.GenerationMixin.generate = generate


def rewarded_answers(torch, _) -> None:
    """Give TRL answers of the largest length: it would cut fake ones at a fake end."""
    from trl import GRPOTrainer

    def answered(self, prompt_ids, *_, **__):
        longest = max(map(len, prompt_ids))
        ids = torch.ones((len(prompt_ids), longest), dtype=torch.long, device=self.accelerator.device)
        with torch.no_grad():
            self.model.generate(input_ids=ids, generation_config=self.generation_config)
        return [[1] * self.max_completion_length for _ in prompt_ids], None

    GRPOTrainer._generate_single_turn = answered
