"""Seeded filler: answers to prompts nobody wrote a reply for, and reasoning that mentions the question."""

from __future__ import annotations

import re
from random import Random

SUBJECTS = (
    "The short answer", "A closer look", "The main idea", "This question", "The usual approach", "One good example",
    "The first step", "A careful reading", "The evidence", "What matters here", "The trade-off", "A simple test",
)  # fmt: skip
VERBS = (
    "depends on", "starts with", "comes down to", "is easier to see through", "rests on", "follows from",
    "can be checked against", "changes with", "is limited by", "points towards",
)  # fmt: skip
OBJECTS = (
    "how the terms are defined", "the size of the sample", "a few plain assumptions", "the order of the steps",
    "what was measured and when", "the cost of being wrong", "the numbers given above", "the people who use it",
    "the rules that hold everywhere", "what happens at the edges", "the context it is used in",
)  # fmt: skip
CHINESE = (
    "首先要看清问题的条件。", "这里的关键在于定义是否一致。", "我们可以从一个简单的例子开始。", "再检查一下边界情况。",
    "综合来看，结论取决于具体的场景。", "换一个角度也能得到同样的结果。", "数据的来源同样重要。",
)  # fmt: skip
THOUGHTS = (
    "Let me restate what is asked: {q}.", "First I should note what is given.", "I will go through it step by step.",
    "Suppose I try the direct way.", "That seems to hold, but let me check it again.", "Wait, the wording {q} matters.",
    "Another way to see it gives the same result.", "So the pieces fit together.", "I should keep the answer short.",
    "Is there a trap here? I do not think so.", "Let me verify this once more from the beginning.",
)  # fmt: skip
CHINESE_THOUGHTS = (
    "题目问的是：{q}。", "先把已知条件列出来。", "一步一步地推。", "等一下，再核对一遍。", "换个方法验证，结果一致。",
    "注意题目里的“{q}”这个说法。", "这样就可以回答了。",
)  # fmt: skip

_CJK = re.compile(r"[\u4e00-\u9fff]")
_SPACE = re.compile(r"\s+")
QUOTED_CHARACTERS = 60


def is_chinese(text: str) -> bool:
    """Whether the beginning of a text holds a Chinese character."""
    return _CJK.search(text, 0, 400) is not None


def answer_prose(question: str, random: Random) -> str:
    """Two to six sentences, in Chinese for a Chinese question."""
    count = random.randint(2, 6)
    if is_chinese(question):
        return "".join(random.sample(CHINESE, count))
    parts = (f"{random.choice(SUBJECTS)} {random.choice(VERBS)} {random.choice(OBJECTS)}." for _ in range(count))
    return " ".join(parts)


def reasoning_prose(question: str, random: Random, tokens: int) -> str:
    """At least ``tokens`` tokens of thinking aloud about a question."""
    chinese = is_chinese(question)
    quoted = _SPACE.sub(" ", question.strip()[-QUOTED_CHARACTERS:]).strip(".。?？! ")
    templates, gap, per_sentence = (CHINESE_THOUGHTS, "", 5) if chinese else (THOUGHTS, " ", 6)
    sentences = [templates[0]] + [random.choice(templates) for _ in range(1 + tokens // per_sentence)]
    return gap.join(sentences).replace("{q}", f"“{quoted}”" if chinese else f'"{quoted}"')
