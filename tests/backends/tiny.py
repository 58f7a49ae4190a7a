"""Random models of a few thousand parameters and a tokenizer, made in memory. Their texts are nonsense; the arithmetic is exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CORPUS = (
    "The capital of France is Paris. The capital of England is London. One, two, three, four, five, six, seven, eight, nine.",
    "Question: What colour is the grass?\nAnswer: green\n\nQuestion: What colour is the sky?\nAnswer: blue",
    "Once upon a time there was a river, and a king who lived by the river.   He had 12 horses and 345 sheep.",
)
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 400


def tiny_tokenizer(*, adds_bos: bool = False, adds_eos: bool = False, template: str | None = TEMPLATE) -> Any:
    """A byte-level BPE of 400 tokens: `<unk>` 0, `<s>` 1, `</s>` 2; by default it adds none of them to a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>", "<|turn|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if adds_bos or adds_eos:
        single = f"{'<s> ' if adds_bos else ''}$A{' </s>' if adds_eos else ''}"
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<|turn|>"],
        model_input_names=["input_ids", "attention_mask"],
    )
    wrapped.chat_template = template
    return wrapped


def tiny_model(kind: str = "llama", *, seed: int = 0, max_length: int = 128) -> Any:
    """A causal model of the architecture with random weights, large enough that its preferences are clear."""
    import torch
    import transformers

    common: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    sized: dict[str, Any] = {
        **common,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": max_length,
    }
    configurations = {
        "llama": lambda: transformers.LlamaConfig(**sized, num_key_value_heads=2),
        "gpt2": lambda: transformers.GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=max_length),
        "qwen2": lambda: transformers.Qwen2Config(**sized, num_key_value_heads=2),
        "qwen3": lambda: transformers.Qwen3Config(**sized, num_key_value_heads=2, head_dim=8),
        "gemma2": lambda: transformers.Gemma2Config(**sized, num_key_value_heads=2, head_dim=8, sliding_window=16),
        "gemma3": lambda: transformers.Gemma3TextConfig(
            **{**sized, "num_hidden_layers": 4}, num_key_value_heads=2, head_dim=8, sliding_window=16, sliding_window_pattern=2
        ),
        "mistral": lambda: transformers.MistralConfig(**sized, num_key_value_heads=2, sliding_window=None),
        "mistral-window": lambda: transformers.MistralConfig(**sized, num_key_value_heads=2, sliding_window=16),
        "phi": lambda: transformers.PhiConfig(**sized),
        "olmo2": lambda: transformers.Olmo2Config(**sized, num_key_value_heads=2),
        "mixtral": lambda: transformers.MixtralConfig(**sized, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2),
        "gpt-oss": lambda: transformers.GptOssConfig(
            **sized, num_key_value_heads=2, head_dim=8, sliding_window=16, num_local_experts=4, num_experts_per_tok=2
        ),
        "gpt-neox": lambda: transformers.GPTNeoXConfig(**sized),
        "gpt-neo": lambda: transformers.GPTNeoConfig(
            **common,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            intermediate_size=64,
            attention_types=[[["global", "local"], 1]],
            window_size=16,
            max_position_embeddings=max_length,
        ),
        "opt": lambda: transformers.OPTConfig(
            **{**common, "pad_token_id": 1},
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=32,
            max_position_embeddings=max_length,
        ),
        "bloom": lambda: transformers.BloomConfig(**common, hidden_size=32, n_layer=2, n_head=4, seq_length=max_length),
        "mamba": lambda: transformers.MambaConfig(**common, hidden_size=32, state_size=4, num_hidden_layers=2),
    }
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(configurations[kind]())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.3, generator=generator)
    return model.eval()


def save_tiny(folder: Path, kind: str = "llama", *, max_length: int = 128, **tokenizer: Any) -> Path:
    """A model folder as `save_pretrained` writes it."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    tiny_model(kind, max_length=max_length).save_pretrained(folder)
    tiny_tokenizer(**tokenizer).save_pretrained(folder)
    return folder


def score_alone(model: Any, context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
    """Log-likelihood and greedy match of one continuation, by one unpadded forward pass with all logits."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*context, *continuation]])).logits[0, len(context) - 1 : -1].float()
    logprobs = logits.log_softmax(-1)[range(len(continuation)), list(continuation)].double()
    return float(logprobs.sum()), logits.argmax(-1).tolist() == list(continuation)
