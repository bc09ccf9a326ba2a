"""A server's models: its list, in every known shape, or the operator's own list."""

from __future__ import annotations

import logging
import re
from typing import Any

from chatapp.kernel.text import MODEL_NAME_CHARS
from chatapp.providers.base import ModelInfo
from chatapp.providers.figures import tokens

logger = logging.getLogger(__name__)

# Only some servers report a model's context size; for the others it is assumed, and not shown.
ASSUMED_INPUT_TOKENS = 32_768
MAX_MODELS = 500
LABEL_CHARS = 60
LIST_KEYS = ("data", "models", "result", "results", "model_names", "items")
NAME_KEYS = ("id", "model", "name", "model_name", "key")
# vLLM: max_model_len; LM Studio: max_context_length; OpenRouter: context_length; llama.cpp: meta.n_ctx_train;
# TabbyAPI: parameters.max_seq_len; DeepInfra: metadata.context_length.
CONTEXT_KEYS = (
    *("loaded_context_length", "max_model_len", "max_context_length", "context_length", "context_window"),
    *("max_input_tokens", "max_context_window", "n_ctx", "n_ctx_train", "inputTokenLimit", "max_seq_len"),
    *("max_context_window_tokens", "max_context_tokens", "context_size", "ctx_len", "max_sequence_length"),
)
FURTHER_PLACES = ("parameters", "metadata", "settings", "config")
KIND_KEYS = ("type", "task", "mode", "model_type", "pipeline_tag")
CANNOT_CHAT_TYPES = re.compile(
    r"^(text-)?embed|rerank|^image(?!-text-to-text)|^audio(?!-text-to-text)|transcri|speech|^tts|^stt|moderation|"
    r"^vision-encoder|classif|^video(?!-text-to-text)|ocr|feature-extraction|sentence-similarity|fill-mask|"
    r"to-(image|audio|video)$|^(reward|score)",
    re.IGNORECASE,
)
CHATS = frozenset({"completion", "completions", "chat", "chat_completion", "chat_completions", "completion_chat"})
OTHER_WORK = frozenset(
    {"embedding", "embeddings", "rerank", "reranking", "moderation", "tts", "stt", "speech", "transcription"}
    | {"text-to-speech", "speech-to-text", "audio_transcription", "image", "image-generation", "image_generation"}
)
# By name, if there is nothing else to go by.
CANNOT_CHAT_NAMES = re.compile(
    r"(^|[/_.:-])(text-embedding|embed|embedding|embeddings|embedder|rerank|reranker|whisper|tts|moderation|dall-e|"
    r"sdxl|stable-diffusion|flux|bge|gte|e5|clip|minilm|bark|xtts|parakeet|gpt-image|sora|imagen|veo)([/_.:-]|$|\d)"
    r"|nomic-embed|mxbai-embed|all-minilm|snowflake-arctic-embed|text-moderation|omni-moderation|jina-embed"
    r"|embeddinggemma|(^|[/_.:-])paraphrase-|-transcribe|-realtime|gpt-realtime|qwen-image"
    r"|voyage-(\d|code|law)"
    r"|musicgen|kokoro|speecht5|(^|[/_.:-])(splade|colbert|instructor|piper|hidream|kolors)([/_.:-]|$)",
    re.IGNORECASE,
)


def info_of(name: str, context_tokens: int | None) -> ModelInfo:
    known = context_tokens or ASSUMED_INPUT_TOKENS
    # The last part of a file path is the most informative, and fits on a phone.
    label = name.rstrip("/").rsplit("/", 1)[-1] if len(name) > LABEL_CHARS else name
    return ModelInfo(name, label, known, known, has_known_limits=context_tokens is not None, shares_window=True)


def declared_models(text: str) -> tuple[ModelInfo, ...]:
    """Read OPENAI_MODELS: names separated by commas, each with its context in tokens if known ("qwen3:8b=40960").

    Raises ValueError.
    """
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, context = entry.rpartition("=") if "=" in entry else (entry, "", "")
        if not name or (context and not (context.isascii() and context.isdigit() and 0 < int(context) < 10**9)):
            raise ValueError(f"OPENAI_MODELS: {entry!r} is neither a model nor model=context in tokens")
        if len(name) > MODEL_NAME_CHARS or not name.isprintable():
            raise ValueError(f"OPENAI_MODELS: {name[:60]!r}… has more than {MODEL_NAME_CHARS} characters")
        found.append(info_of(name, int(context) if context else None))
    return tuple(found)


def listed_models(reply: Any) -> tuple[ModelInfo, ...]:
    """Read a server's list, leaving out models that cannot chat; the number left out is logged."""
    entries = _entries(reply)
    found: dict[str, ModelInfo] = {}
    unreadable = others = 0
    for entry in entries:
        name = _name(entry)
        if name is None:
            unreadable += 1
        elif not can_chat(entry, name):
            others += 1
        elif len(found) < MAX_MODELS:
            found.setdefault(name, info_of(name, _context(entry)))
    if unreadable or others or len(entries) > MAX_MODELS:
        logger.warning(
            "Of %s listed models %s are offered: %s cannot chat, %s have no name that can be used",
            *(len(entries), len(found), others, unreadable),
        )
    return tuple(found.values())


def can_chat(entry: Any, name: str) -> bool:
    """Return whether a model can chat: by what the server says about it, otherwise by its name."""
    if not isinstance(entry, dict):
        return not CANNOT_CHAT_NAMES.search(name)
    kinds = [str(place[key]) for place in _places(entry) for key in KIND_KEYS if place.get(key)]
    if any(CANNOT_CHAT_TYPES.search(kind) for kind in kinds):
        return False
    outputs = _outputs(entry.get("architecture"))
    if outputs:
        return "text" in outputs
    can = _capabilities(entry.get("capabilities"))
    if can & CHATS or can & OTHER_WORK:
        return bool(can & CHATS)
    methods = entry.get("supported_generation_methods") or entry.get("supportedGenerationMethods")
    if isinstance(methods, list) and methods:
        return "generateContent" in methods
    if kinds and any(kind.lower() in ("llm", "vlm", "chat", "text-generation", "language") for kind in kinds):
        return True
    return not CANNOT_CHAT_NAMES.search(name)


def _capabilities(told: Any) -> set[str]:
    """Return a model's capabilities, given as a list of words or as a mapping of words to booleans."""
    if isinstance(told, dict):
        # Mistral reports this for every model, and for some nothing else.
        other = {"embedding"} if told.get("completion_chat") is False else set()
        return other | {str(key).lower() for key, can in told.items() if can}
    return {each.lower() for each in told if isinstance(each, str)} if isinstance(told, list) else set()


def _outputs(architecture: Any) -> list[str]:
    """Return a model's output types, [] if unknown. OpenRouter: output_modalities, or modality "text->text"."""
    if not isinstance(architecture, dict):
        return []
    outputs = architecture.get("output_modalities")
    if isinstance(outputs, list):
        return [each for each in outputs if isinstance(each, str)]
    _, arrow, outputs = str(architecture.get("modality") or "").rpartition("->")
    return outputs.split("+") if arrow else []


def _places(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entry and its nested objects that may have figures or kinds."""
    inner = (entry.get(key) for key in ("meta", "model_info", "limits", "top_provider", "details", *FURTHER_PLACES))
    return [entry, *(place for place in inner if isinstance(place, dict))]


def _entries(reply: Any, depth: int = 0) -> list[Any]:
    if isinstance(reply, list):
        return reply
    if isinstance(reply, dict) and depth < 2:
        for key in LIST_KEYS:
            if isinstance(reply.get(key), list | dict) and (found := _entries(reply[key], depth + 1)):
                return found
    return []


def _name(entry: Any) -> str | None:
    names = [entry] if isinstance(entry, str) else []
    if isinstance(entry, dict):
        names = [entry[key] for key in NAME_KEYS if isinstance(entry.get(key), str)]
    usable = (name for name in names if len(name) <= MODEL_NAME_CHARS and name.isprintable() and name.strip())
    return next(usable, None)


def _context(entry: Any) -> int | None:
    if not isinstance(entry, dict):
        return None
    return next(
        (figure for place in _places(entry) for key in CONTEXT_KEYS if (figure := tokens(place.get(key)))), None
    )
