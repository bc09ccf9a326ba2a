"""Which models a server has: its list in every shape that is about, or what the operator wrote down."""

from __future__ import annotations

import logging
import re
from typing import Any

from chatapp.providers.base import ModelInfo
from chatapp.providers.figures import tokens
from chatapp.text import MODEL_NAME_CHARS

logger = logging.getLogger(__name__)

# Only some servers tell how much a model takes; of the others it is assumed, and not shown.
ASSUMED_INPUT_TOKENS = 32_768
MAX_MODELS = 500
LABEL_CHARS = 60
LIST_KEYS = ("data", "models", "result", "results", "model_names", "items")
NAME_KEYS = ("id", "model", "name", "model_name", "key")
# vLLM: max_model_len; LM Studio: max_context_length; OpenRouter: context_length; llama.cpp: meta.n_ctx_train.
CONTEXT_KEYS = (
    *("max_model_len", "max_context_length", "loaded_context_length", "context_length", "context_window"),
    *("max_input_tokens", "max_context_window", "n_ctx", "n_ctx_train", "inputTokenLimit"),
)
CANNOT_CHAT_TYPES = re.compile(
    r"^(text-)?embed|rerank|^image|^audio|transcri|speech|^tts|^stt|moderation|^vision-encoder|classif|^video|ocr", re.I
)
# By their names, where nothing else tells.
CANNOT_CHAT_NAMES = re.compile(
    r"(^|[/_.:-])(text-embedding|embed|embedding|embeddings|embedder|rerank|reranker|whisper|tts|moderation|dall-e|"
    r"sdxl|stable-diffusion|flux|bge|gte|e5|clip|minilm|bark|xtts|parakeet|gpt-image|sora|imagen|veo)([/_.:-]|$|\d)"
    r"|nomic-embed|mxbai-embed|all-minilm|snowflake-arctic-embed|text-moderation|omni-moderation|jina-embed",
    re.IGNORECASE,
)


def info_of(name: str, context_tokens: int | None) -> ModelInfo:
    known = context_tokens or ASSUMED_INPUT_TOKENS
    # Of the path of a file its last part tells most, and fits on a phone.
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
            raise ValueError(f"OPENAI_MODELS: {entry!r} is no model, or no model=context in tokens")
        if len(name) > MODEL_NAME_CHARS or not name.isprintable():
            raise ValueError(f"OPENAI_MODELS: {name[:60]!r}… has more than {MODEL_NAME_CHARS} characters")
        found.append(info_of(name, int(context) if context else None))
    return tuple(found)


def listed_models(reply: Any) -> tuple[ModelInfo, ...]:
    """Read a server's list, without what cannot chat; what is dropped is counted in the log."""
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
    """Say whether a model writes texts: by what the server says of it, else by its name."""
    if not isinstance(entry, dict):
        return not CANNOT_CHAT_NAMES.search(name)
    kinds = [str(entry.get(key)) for key in ("type", "task", "mode", "model_type", "pipeline_tag") if entry.get(key)]
    if any(CANNOT_CHAT_TYPES.search(kind) for kind in kinds):
        return False
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, dict) and capabilities.get("completion_chat") is False:
        return False
    if isinstance(capabilities, list) and capabilities:
        return not {"embedding", "embeddings", "rerank"} & set(map(str, capabilities)) or "completion" in capabilities
    architecture = entry.get("architecture")
    outputs = architecture.get("output_modalities") if isinstance(architecture, dict) else None
    if isinstance(outputs, list) and outputs:
        return "text" in outputs
    if kinds and any(kind.lower() in ("llm", "vlm", "chat", "text-generation", "language") for kind in kinds):
        return True
    return not CANNOT_CHAT_NAMES.search(name)


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
    return next((name for name in names if 0 < len(name) <= MODEL_NAME_CHARS and name.isprintable()), None)


def _context(entry: Any) -> int | None:
    if not isinstance(entry, dict):
        return None
    inner = (entry.get(key) for key in ("meta", "model_info", "limits", "top_provider", "details"))
    places = [entry, *(place for place in inner if isinstance(place, dict))]
    return next((figure for place in places for key in CONTEXT_KEYS if (figure := tokens(place.get(key)))), None)
