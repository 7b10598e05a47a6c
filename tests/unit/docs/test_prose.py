"""The prose linter: it finds sentences that break a rule, and skips code and harmless forms."""

import pytest

from tests.prose import found, rules, texts

AMONG = rules()


def breaks(text, *, page=False):
    return {message for message, _ in found(text, page=page, among=AMONG)}


@pytest.mark.parametrize(
    "sentence",
    [
        "What the engine computes.",
        "Whether the file exists.",
        "It is no INT8 network.",
        "These are no engines.",
        "The user is told about it.",
        "It quantizes the rest.",
        "The file has to exist.",
    ],
)
def test_a_broken_rule_is_found(sentence):
    assert len(breaks(f"Good. {sentence} Good.")) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "Which engine is fastest?",
        "There is no engine.",
        "The layer is no longer INT8.",
        "The engine is no slower than FP32.",
        "It is no worse.",
        "It is no single layer.",
        "It calls the REST API.",
        "The key `told` is a list.",
    ],
)
def test_harmless_forms_pass(sentence):
    assert not breaks(f"Good. {sentence}")


def test_only_pages_have_a_limit_of_words():
    sentence = " ".join(["word"] * 40)
    assert breaks(sentence, page=True) and not breaks(sentence)


def test_code_in_python_files_is_skipped(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""Does a thing.\n\n    told = asks(what)\n    python tell.py --the rest\n    Conv ─▶ the rest\n\n'
        'Attributes:\n    mended: a flag.\n"""\n'
        "x = 1  # noqa: E501 the rest\n# told = mend(x)\n# fmt: skip\n",
        encoding="utf-8",
    )
    assert not [message for _, text in texts(path) for message in breaks(text)]


def test_docstrings_comments_and_messages_are_read(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""What it is."""\nx = 1  # it tells\nraise UserError(f"{x} is no file" if x else "mend it")\n',
        encoding="utf-8",
    )
    assert sorted(line for line, text in texts(path) if breaks(text)) == [1, 2, 3, 3]
