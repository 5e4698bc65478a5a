"""Prompts of language models: the same tokens in training and generation, a loss on the answer only, and its end."""

import pytest

from chat_models import ARGUMENTS, CHAT, KINDS, tokenizer_of
from hra_workflow.core.errors import JobError
from hra_workflow.models.prompts import Prompt

TEXT = {"template": "Q: {question}\nA:"}
REVERSED = "{% if add_generation_prompt %}[A]{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
ROWS = [
    ("How many are 2 + 2?", "2 + 2 = 4.\n\nThe answer is: 4"),
    ("  spaces\n", "\n\n around \n"),
    ("Ünïcode 数?", "数 {question} <b>"),
    ("{{ messages }}", "user\nassistant\n"),
]


@pytest.fixture(scope="module")
def tokenizers() -> dict:
    return {kind: tokenizer_of(kind) for kind in KINDS}


@pytest.fixture
def made(tokenizers, tmp_path):
    """Return a function that makes the prompts for a tokenizer whose model has all end tokens of its kind."""
    from transformers import GenerationConfig

    def make(kind: str, settings: dict = CHAT, template: str | None = None) -> Prompt:
        tokenizer = tokenizers[kind]
        GenerationConfig(eos_token_id=tokenizer.convert_tokens_to_ids(KINDS[kind][2])).save_pretrained(tmp_path)
        if template is not None:
            tokenizer = tokenizer_of(kind)
            tokenizer.chat_template = template or None
        return Prompt(settings, tokenizer, tmp_path)

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_chat_template_s_with_the_loss_where_transformers_finds_the_answer(made, tokenizers, kind):
    prompt, tokenizer = made(kind), tokenizers[kind]
    for question, answer in ROWS:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        asked, said = prompt.row(question, answer)
        assert prompt.row(question, answer, whole=True) == ([], asked + said)
        expected = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, **ARGUMENTS)["input_ids"]
        assert asked == expected == prompt.ids(prompt.text(question))
        whole = tokenizer.apply_chat_template(messages, **ARGUMENTS)["input_ids"]
        ids = asked + said
        if whole[: len(asked)] != asked:  # a token spans prompt and answer
            assert tokenizer.decode(whole).startswith(tokenizer.decode(ids))
            continue
        assert whole[: len(ids)] == ids and tokenizer.decode(whole[len(ids) :]) in ("", "\n")
        marked = {"chat_template": KINDS[kind][0], "return_assistant_tokens_mask": True}
        found = tokenizer.apply_chat_template(messages, **marked, **ARGUMENTS)
        assert found["input_ids"] == whole
        assert found["assistant_masks"][: len(ids)] == [0] * len(asked) + [1] * len(said)
        assert not any(found["assistant_masks"][len(ids) :])
        assert said[-1] in prompt.ends and not set(said[:-1]) & set(prompt.ends)
        assert asked.count(tokenizer.bos_token_id) == (KINDS[kind][1] is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_ends_at_the_tokens_of_tokenizer_model_and_template(made, tokenizers, kind, tmp_path):
    expected = tokenizers[kind].convert_tokens_to_ids(KINDS[kind][2])
    assert made(kind).ends == expected
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "config.json").write_text('{"model_type": "llama", "eos_token_id": null}')
    ends = Prompt(CHAT, tokenizers[kind], tmp_path).ends
    end_of_turn = {"gemma3_text": "<end_of_turn>"}.get(kind, KINDS[kind][2][0])
    assert ends == list(dict.fromkeys([expected[0], tokenizers[kind].convert_tokens_to_ids(end_of_turn)]))


def test_a_template_is_used_where_the_tokenizer_has_one(made):
    auto = TEXT | CHAT | {"chat": "auto"}
    assert made("llama", auto).text("q") == made("llama").text("q")
    assert made("llama", auto, template="").text("q") == "Q: q\nA:"
    with pytest.raises(JobError, match=r"prompt\.chat: expected a tokenizer with a chat template, found none .*auto"):
        made("llama", template="")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, r"cannot render a question: .*Llama 3: date_string"),
        ("{{ raise_exception('only with a system message') }}", "cannot render a question: only with a system message"),
        (REVERSED, r"expected a conversation that begins with its prompt .* Correct prompt.arguments"),
    ],
)
def test_a_template_that_cannot_be_learned_is_refused(made, template, message):
    with pytest.raises(JobError, match=message):
        made("llama", CHAT | {"arguments": {}}, template=template)


def test_an_answer_without_an_end_of_turn_gets_the_end_of_text(made):
    prompt = made("qwen3", template="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    asked, said = prompt.row("q", "a")
    assert prompt.tokenizer.decode(asked + said) == "user: q\nassistant: a\n<|im_end|>"
