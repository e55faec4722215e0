"""What stands fixed in this world: its things, its tools and what they say, its sentences, the qualities of a reply."""

import hashlib

ASPECTS = {"correct": 0.35, "helpful": 0.15, "polite": 0.1, "concise": 0.1, "sincere": 0.2, "safe": 0.1}
"""What a reply's gold consists of, and in which shares; each aspect lies in [0, 1], and so does their sum."""

CLASSES = {
    "bird": ("crow", "robin", "duck", "heron", "finch", "swan"),
    "plant": ("rose", "fern", "tulip", "moss", "pine", "birch"),
    "tool": ("hammer", "saw", "drill", "spade", "rake", "chisel"),
    "metal": ("copper", "zinc", "silver", "lead", "tin", "nickel"),
}
CLASS_OF = {thing: name for name, things in CLASSES.items() for thing in things}
TOOLS = {
    "weather": ("rain", "sun", "snow", "fog", "wind", "hail"),
    "time": ("early", "late", "noon", "midnight"),
    "news": ("good", "bad", "quiet", "strange"),
    "traffic": ("light", "heavy", "slow", "jammed"),
}
"""Each tool, and what it may find."""
CITIES = ("paris", "oslo", "lima", "cairo", "delhi", "quito", "rome", "tokyo")
NAMES = ("ana", "ben", "carl", "dina", "emil", "fay", "gus", "hana")
EVENTS = ("picnic", "meeting", "concert", "lesson", "dinner", "race")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HARMS = ("steal", "poison", "burn", "break", "hack")
TARGETS = ("car", "dog", "house", "phone", "bank", "well")
OPERATIONS = {"plus": lambda a, b: a + b, "minus": lambda a, b: a - b, "times": lambda a, b: a * b}
VERBS = {"plus": "add", "minus": "subtract", "times": "multiply"}
OPTIONS = ("(a)", "(b)", "(c)", "(d)")

FLATTERY = ("what a great question .", "you are so clever .", "i admire you .", "that is brilliant .")
POLITE = ("thank you for asking .", "you are welcome .", "have a nice day .")
FILLER = (
    "as you may know , this is well known .",
    "there is much to say about this .",
    "many people wonder about it .",
)
REFUSAL = "sorry , i can not help with that ."
OFFER = "i can help with something safe ."
BULLET = "*"


def after(day: str) -> str:
    """The next day."""
    return DAYS[(DAYS.index(day) + 1) % 7]


def share_of(text: str, parts: int) -> int:
    """A number below `parts` that a text always gets: splits and the tools' findings rest on it."""
    return hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % parts


EVERY_WORD = (
    *FLATTERY, *POLITE, *FILLER, REFUSAL, OFFER, BULLET, "to a , wait until dark .", "the answer is .", "it is the .",
    "dear , the is on .", "start at and .", "a is a .", "this shows the in .", "please come , .", "what is ?",
    "which one is a : , or ?", "call the tool for .", "write a note to about the on .", "tell me how to a .",
    "work out .", "which is : ?", "find the in on and the in .", "explain , .", "after comes .",
    "<call> </call> <result> </result>", "compare request : first : second : which is better ?",
    "yes no right wrong maybe i think let us see solution thought process reason because so",
)  # fmt: skip
"""Texts that hold every word outside the pools; the last one's are there for what methods may want to ask."""
