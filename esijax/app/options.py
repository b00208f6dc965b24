"""Values of options of the command line; imports nothing heavy."""

from fractions import Fraction
from typing import Any


def number_or(text: str, words: tuple[str, ...], option: str, more: str = "") -> float | str:
    """A number, or one of the words; `more` is a form that the error names too."""
    if text in words:
        return text
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        from esijax._types import InputError

        choices = " or ".join(["a number", *words, *([more] if more else [])])
        raise InputError(f"{option} takes {choices}, not {text!r}.") from None


def choice(text: str, words: tuple[str, ...], option: str, more: str) -> Any:
    """A number, one of the words, or NAME=VALUE between commas, as in `more`."""
    if "none" in words and text.lower() == "none":
        return None
    if "=" not in text:
        return number_or(text, words, option, more)
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): member(value.strip()) for name, _, value in pairs}


def member(text: str) -> Any:
    """Read the value of one NAME=VALUE: a number, true, false, none, or the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        return text
    return int(value) if text.isdigit() else float(value)


def rank(text: str) -> Any:
    """Read --rank: a word, or dimensions by channel type; a bare number belongs to no type."""
    words = ("none", "info", "full")
    if "=" not in text and text.lower() not in words:
        from esijax._types import InputError

        raise InputError(f"--rank takes {', '.join(words)} or meg=72,eeg=58, not {text!r}.")
    return choice(text.lower(), words, "--rank", "")
