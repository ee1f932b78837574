from salcheck.questions import QUESTIONS
from tests.calls import run


def test_questions_are_listed_with_what_can_be_set():
    shown = " ".join(run("questions").stdout.split())
    for name, question in QUESTIONS.items():
        assert f"{name}: {question.title}" in shown
        assert question.source in shown
    assert "percent=5+10+25+50" in shown
    assert "fill=mean (or zero, grey, blur, inpaint)" in shown
