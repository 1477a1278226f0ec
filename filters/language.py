"""The natural language of a text: by its script where the script decides, by letter statistics elsewhere."""

import re

from resiliparse.parse.lang import detect_fast

# Above this distance resiliparse's answer is a guess (its own documentation says so).
UNSURE = 1200
SAMPLE = 20_000

CODE_OR_FORMULA = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$\n]*\$", re.DOTALL)
LETTER = re.compile(r"[^\W\d_]")
KANA = re.compile("[\u3040-\u30ff]")
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
HANGUL = re.compile("[\uac00-\ud7af\u1100-\u11ff]")
THAI = re.compile("[\u0e00-\u0e7f]")


def detect_language(text: str) -> str | None:
    """ISO 639 code of a text's language, without its formulas and code blocks; None where nothing fits."""
    prose = CODE_OR_FORMULA.sub(" ", text[:SAMPLE])
    letters = len(LETTER.findall(prose))
    if not letters:
        return None
    kana, han = len(KANA.findall(prose)), len(HAN.findall(prose))
    # A Latin word is about five letters and a Han character about one word, hence the low bars.
    if kana + han > 0.2 * letters:
        return "ja" if kana > 0.1 * (kana + han) else "zh"
    if len(HANGUL.findall(prose)) > 0.2 * letters:
        return "ko"
    if len(THAI.findall(prose)) > 0.3 * letters:
        return "th"
    language, _ = detect_fast(prose, cutoff=UNSURE)
    return None if language == "unknown" else language
