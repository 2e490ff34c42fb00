"""Make a tiny causal language model with random weights; run with the engine's own Python.

    python tiny_model.py DIRECTORY

A Qwen2 of about 4 million parameters, a byte-level BPE tokenizer trained on invented sentences, a ChatML template:
small enough to start in seconds, real enough that an engine does everything with it that it does with a large one. Its
text is meaningless, and meant to be; but it depends on all that went before and it ends, so that what is built around
engines (streams, resumption, stop reasons) is exercised. Nothing is downloaded, everything is seeded: equal files
wherever it is made.

The files are written directly (safetensors is a header and raw numbers), so neither torch nor transformers is loaded.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REVISION = 1
"""Part of the directory's name: raise it with every change of what is written."""

SEED = 20_231_201

VOCABULARY = 2048
HIDDEN = 256
LAYERS = 4
HEADS = 8
KEY_VALUE_HEADS = 2
INTERMEDIATE = 768
MAX_POSITIONS = 4096

EMBEDDING_SPREAD = 0.1
ATTENTION_SPREAD = 0.2
SPREAD = 0.1
"""Standard deviations of the weights. The usual 0.02 makes an untrained model repeat one word for ever: these let the
layers outweigh the word that came last."""

OUTPUT_SPREAD = 0.2
END_SPREAD = 0.33
"""Of the output rows. Words then differ by about 3 in log-odds, and the end mark, whose row is longer, wins once in
some forty words. Rows of the other special tokens and of single bytes are zero: they are hardly ever said."""

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
END_ID = 2
FIRST_WORD_ID = 3 + 256
"""Ids in the order of training: special tokens, single bytes, then what was merged."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{% if not (loop.last and continue_final_message is defined and continue_final_message) %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

SYLLABLES = tuple(a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "l", "n", "r", "s"))
_COMMON = "the of and a to in is it for on with as at by from grid wind sun water light north coast hour"
COMMON = tuple(_COMMON.split())


def directory_in(cache: Path) -> Path:
    """Return where the model is kept below a cache directory."""
    return cache / "models" / f"tiny-r{REVISION}"


def make(target: Path) -> None:
    """Write the model unless it is there. Two that do it at once both succeed, and one result stays."""
    if target.exists():
        return
    draft = target.with_name(f".{target.name}.{os.getpid()}.{random.SystemRandom().getrandbits(32):08x}")
    draft.mkdir(parents=True)
    try:
        size = write_tokenizer(draft)
        write_configuration(draft, size)
        write_weights(draft, size)
        try:
            draft.rename(target)
        except OSError:
            if not target.exists():  # not the other one's success, a real failure
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def sentences(count: int) -> Iterator[str]:
    """Invent text whose words repeat unevenly, as those of languages do."""
    chance = random.Random(SEED)  # noqa: S311 - reproducible on purpose
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 3))) for _ in range(3000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    for _ in range(count):
        picked = chance.choices(words, weights, k=12) + chance.choices(COMMON, k=6)
        chance.shuffle(picked)
        yield " ".join(picked).capitalize() + "."


def write_tokenizer(directory: Path) -> int:
    """Train and write the tokenizer; returns the size of its vocabulary."""
    # Not one of our dependencies: it is there where this script runs.
    from tokenizers import (  # type: ignore[import-not-found]  # noqa: PLC0415
        AddedToken,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(token, special=True) for token in (PAD, START, END)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(4000), trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_POSITIONS,
        "bos_token": PAD,
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    _write_json(directory / "tokenizer_config.json", settings)
    return int(tokenizer.get_vocab_size())


def write_configuration(directory: Path, vocabulary: int) -> None:
    """Write what the engine reads first."""
    tokens = {"bos_token_id": 0, "eos_token_id": END_ID, "pad_token_id": 0}
    model = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "torch_dtype": "bfloat16",
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "max_position_embeddings": MAX_POSITIONS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "use_cache": True,
        **tokens,
    }
    _write_json(directory / "config.json", model)
    _write_json(directory / "generation_config.json", tokens)


def write_weights(directory: Path, vocabulary: int) -> None:
    """Write the tensors in the safetensors format: header length (u64), JSON header, then the numbers."""
    import numpy as np  # noqa: PLC0415

    chance = np.random.RandomState(SEED)  # its stream is frozen for ever, the newer generators' is not
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, shape in _tensors(vocabulary):
        if name.endswith("norm.weight"):
            numbers = np.ones(shape, dtype=np.float32)
        elif name.endswith(".bias"):
            numbers = np.zeros(shape, dtype=np.float32)
        else:
            numbers = (chance.standard_normal(shape) * _spread(name)).astype(np.float32)
        if name == "lm_head.weight":
            numbers[END_ID] *= END_SPREAD / OUTPUT_SPREAD
            numbers[:END_ID] = 0
            numbers[END_ID + 1 : FIRST_WORD_ID] = 0
        # bfloat16 is the upper half of a float32; half of what is cut off is added first, which rounds to nearest.
        raw = ((numbers.view(np.uint32) + 0x8000) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (directory / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)


def _tensors(vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name every tensor of a Qwen2, with its shape."""
    narrow = HIDDEN // HEADS * KEY_VALUE_HEADS
    yield "model.embed_tokens.weight", (vocabulary, HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", (HIDDEN,)
        for name, width in (("q", HIDDEN), ("k", narrow), ("v", narrow)):
            yield f"{at}.self_attn.{name}_proj.weight", (width, HIDDEN)
            yield f"{at}.self_attn.{name}_proj.bias", (width,)
        yield f"{at}.self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield f"{at}.post_attention_layernorm.weight", (HIDDEN,)
        yield f"{at}.mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
        yield f"{at}.mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
        yield f"{at}.mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (vocabulary, HIDDEN)


def _spread(name: str) -> float:
    if "q_proj" in name or "k_proj" in name:
        return ATTENTION_SPREAD
    return {"model.embed_tokens.weight": EMBEDDING_SPREAD, "lm_head.weight": OUTPUT_SPREAD}.get(name, SPREAD)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
