"""Prompts of a causal language model: a text around the question, or its tokenizer's chat template.

A row of training data begins, token for token, with the prompt of generation; the loss is on the rest: the answer and
the token that ends it. transformers renders chat templates, but its mask of the answer's tokens
(`return_assistant_tokens_mask`) needs `{% generation %}` in them, which the templates of Llama, Qwen and Gemma lack. So
the answer is the part of the rendered conversation after the rendered prompt, as the template strips or completes it.
"""

from pathlib import Path

from hra_workflow.core.errors import JobError
from hra_workflow.models import causal_lm


class Prompt:
    """The prompts of a task for the tokenizer of the model in `folder`.

    settings: `template`, with {question}; or `chat`, true or auto, with `message`, the `arguments` of the chat template
    and, for auto, the `template` of tokenizers without one. Raises JobError if the tokenizer cannot do this.
    ends: IDs of the tokens that end an answer: the tokenizer's, the model's and the chat template's.
    """

    def __init__(self, settings: dict, tokenizer, folder: Path):
        self.tokenizer, chat = tokenizer, settings.get("chat", False)
        if chat is True and not tokenizer.chat_template:
            raise JobError(
                f"prompt.chat: expected a tokenizer with a chat template, found none in {folder}. Use the instruct "
                "version of the model, or set chat to auto or false."
            )
        self.chat = bool(chat and tokenizer.chat_template)
        self.around = settings["message" if self.chat else "template"]
        # A template that calls strftime_now would change the prompts of a run overnight: it fails instead.
        self.arguments = settings.get("arguments", {}) | {"strftime_now": None}
        self.ends = causal_lm.end_tokens(folder, tokenizer)
        if self.chat:
            self.ends = list(dict.fromkeys([*self.ends, *self.end_of_turn()]))

    def text(self, question: str) -> str:
        """Return the complete text before the answer."""
        asked = self.around.replace("{question}", question)
        return self.rendered(asked) if self.chat else asked

    def ids(self, text: str) -> list[int]:
        """Return the token IDs of a prompt; the text of a chat template already contains the special tokens."""
        if self.chat:
            return self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return causal_lm.encode(text, self.tokenizer)

    def row(self, question: str, answer: str, whole: bool = False) -> tuple[list[int], list[int]]:
        """Return the token IDs of the prompt, and those of the answer with the token that ends it.

        whole: return no IDs for the prompt, and the IDs of both for the answer; without a chat template, both are
        tokenised as one text.
        """
        text, end = self.text(question), self.tokenizer.eos_token_id
        if not self.chat:
            asked, said = ([], self.ids(text + answer)) if whole else causal_lm.encode_row(text, answer, self.tokenizer)
            return asked, [*said, end]
        said_text = self.answered(question, answer)
        asked, both = self.ids(text), self.ids(text + said_text)
        # If a token would span both, the answer is encoded separately, since generation starts after the prompt.
        said = both[len(asked) :] if both[: len(asked)] == asked else self.ids(said_text)
        last = max((index for index, token in enumerate(said) if token in self.ends), default=None)
        said = [*said, end] if last is None else said[: last + 1]
        return ([], asked + said) if whole else (asked, said)

    def answered(self, question: str, answer: str) -> str:
        """Return the text that the chat template renders after the prompt for an answer."""
        text, whole = self.text(question), self.rendered(self.around.replace("{question}", question), answer)
        if not whole.startswith(text):
            raise JobError(
                f"the chat template: expected a conversation that begins with its prompt {text!r}, found {whole!r}. "
                "Correct prompt.arguments, or set prompt.chat: false."
            )
        return whole.removeprefix(text)

    def end_of_turn(self) -> list[int]:
        """Return the ID of the special token that the chat template puts after an answer; [] for none."""
        after = self.answered("1 + 1?", "Two").rpartition("Two")[2]
        return [token for token in self.ids(after)[:1] if token in self.tokenizer.added_tokens_decoder]

    def rendered(self, message: str, answer: str | None = None) -> str:
        from jinja2 import TemplateError

        said = [] if answer is None else [{"role": "assistant", "content": answer}]
        try:
            return self.tokenizer.apply_chat_template(
                [{"role": "user", "content": message}, *said],
                tokenize=False,
                add_generation_prompt=answer is None,
                **self.arguments,
            )
        except (TemplateError, TypeError) as problem:
            raise JobError(
                f"the chat template cannot render a question: {problem}. If it prints today's date, set a fixed one in "
                "prompt.arguments (Llama 3: date_string); else set prompt.chat: false."
            ) from problem
