"""Calls the model and passes on its output, up to the limit that was reserved."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from chatapp.exchanges.meter import RunningMeter
from chatapp.kernel.config import settings
from chatapp.providers.base import ChatRequest, Chunk
from chatapp.providers.registry import providers
from chatapp.providers.retry import stream_with_retries


def read(request: ChatRequest) -> Generator[Chunk, None, None]:
    """Yield the model's output. When the visible answer reaches its limit, the last chunk says "length".

    Closing the generator closes the connection. Raises what the provider raises.
    """
    meter = RunningMeter(request.max_output_tokens)
    for chunk in stream_with_retries(providers().for_model(request.model), request, tries=settings().provider_tries):
        meter.add(chunk.delta, chunk.usage)
        if meter.is_over:
            # Leaving the loop releases the provider's generator and with it the connection.
            yield replace(chunk, finish_reason="length")
            return
        yield chunk
