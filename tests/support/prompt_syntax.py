"""Known prompts, and the same ones decorated with the syntax that people write around words."""

from __future__ import annotations

import random

# Phrases of a prompt and what they say: noun to describing words.
THINGS = (
    ("a red book", "book", ("red",)),
    ("a blue vase", "vase", ("blue",)),
    ("a small brown dog", "dog", ("small", "brown")),
    ("a wooden chair", "chair", ("wooden",)),
    ("a green bottle", "bottle", ("green",)),
    ("an old car", "car", ("old",)),
)
# Every blank of Unicode, and what looks like one.
BLANKS = (
    *"\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f",
    *"\u3000\u200b\ufeff\u0085\u3164\u2800\t",
    "  ",
    " \u00a0 ",
)
# Characters that nobody sees: joiners, marks of direction, the soft hyphen, variation selectors.
UNSEEN = (
    *"\u00ad\u200c\u200d\u200e\u200f\u202a\u202c\u2060\u2066\u2069\u061c\ufe0e\ufe0f\u034f",
    "\U000e0100",
)
AROUND_A_WORD = (
    "({}:1.2)",
    "({})",
    "(({}))",
    "(({}:0.8):1.3)",
    "[{}]",
    "[[{}]]",
    "{{{}}}",
    "{}:1.3",
    "{}:.8",
    "[{}:0.5]",
    "[{}::0.5]",
    "{}++",
)
BETWEEN = (
    ", ",
    " BREAK ",
    "\nBREAK\n",
    " AND ",
    ", <lora:old_paper_xl:0.8>, ",
    " <lyco:Glass_Style:1>, ",
    ", <hypernet:x:0.4>, ",
    " | ",
    " ADDCOMM ",
    ", __weather__, ",
    ",\n",
)
TAGS = (
    "masterpiece",
    "best quality",
    "(masterpiece:1.2)",
    "((best quality))",
    "score_9",
    "score_8_up",
    "source_anime",
    "rating_safe",
    "8k",
    "4k uhd",
    "highres",
    "absurdres",
    "very aesthetic",
    "ultra-detailed",
    "highly_detailed",
    "sharp focus",
    "trending on artstation",
    "1girl",
    "solo",
    "looking_at_viewer",
    "newest",
)
ENDS = (
    "",
    " --ar 16:9",
    " --ar 16:9 --v 6.1 --style raw",
    " --no text, a watermark",
    " <lora:detail_tweaker:0.6>",
    "\nNegative prompt: bad hands, a blurry picture\nSteps: 20, Sampler: Euler a, Size: 512x512",
)


def decorated(number: int) -> tuple[str, dict[str, tuple[str, ...]]]:
    """A prompt with syntax of every kind, always the same for a number, and what it says."""
    rng = random.Random(number)
    things = rng.sample(THINGS, rng.randint(1, 4))
    phrases: list[str] = []
    for text, *_ in things:
        words = text.split()
        for place in range(1, len(words)):
            if rng.random() < 0.3:
                words[place] = rng.choice(AROUND_A_WORD).format(words[place])
            elif rng.random() < 0.2:
                cut = rng.randint(1, len(words[place]))
                words[place] = words[place][:cut] + rng.choice(UNSEEN) + words[place][cut:]
        phrase = words[0]
        for word in words[1:]:
            phrase += (rng.choice(BLANKS) if rng.random() < 0.3 else " ") + word
        if rng.random() < 0.2:
            phrase = f"({phrase}:1.{rng.randint(1, 4)})"
        phrases.append(phrase)
    if rng.random() < 0.3:
        # As tags are written.
        phrases = [text.partition(" ")[2].replace(" ", "_") for text, *_ in things]
    prompt = phrases[0]
    for phrase in phrases[1:]:
        prompt += rng.choice(BETWEEN) + phrase
    before, after = (rng.sample(TAGS, rng.randint(0, 3)) for _ in range(2))
    prompt = ", ".join([*before, prompt, *after])
    unseen = rng.choice(("", "\ufeff", "\u200e"))
    return unseen + prompt + rng.choice(ENDS), {noun: modifiers for _, noun, modifiers in things}
