"""Sampled answers of TRL's trainers: fake ones never end."""


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
