"""The names of the three FIM control tokens in the tokenizers people use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentinels:
    """Control tokens by role, as their tokenizer spells them."""

    begin: str
    hole: str
    end: str


# DeepSeek's bars are U+FF5C and its blank is U+2581; the papers' `fim_start` is not what was released.
SENTINELS = {
    "deepseek": Sentinels("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "starcoder": Sentinels("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "qwen": Sentinels("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
}
