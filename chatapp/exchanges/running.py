"""Asking the model: what it says, up to the bound that the budget was reserved for."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from chatapp.exchanges.meter import RunningMeter
from chatapp.kernel.config import settings
from chatapp.providers.base import ChatRequest, Chunk
from chatapp.providers.registry import providers
from chatapp.providers.retry import stream_with_retries


def read(request: ChatRequest) -> Generator[Chunk, None, None]:
    """Yield what the model says. Where the visible answer is as long as it may be, the last chunk says "length".

    Closing it closes the connection. Raises what the provider raises.
    """
    meter = RunningMeter(request.max_output_tokens)
    for chunk in stream_with_retries(providers().for_model(request.model), request, tries=settings().provider_tries):
        meter.add(chunk.delta, chunk.usage)
        if meter.is_over:
            # Leaving the loop lets go of the provider's generator, and with it of the connection.
            yield replace(chunk, finish_reason="length")
            return
        yield chunk
