"""Text: verses, scenes and stories (5050), summaries (5001), translation (5002), extraction (5000).

`service` is the trade. Without a model: `reader` understands a theme, `verses` and `writer` make singable lines of it,
`scenes` the shots of a film, `story` an illustrated tale; `summary` picks sentences; `translate` and `extract` use what
is installed. `server` speaks to any OpenAI-compatible endpoint, with JSON-schema answers and retries.
"""

__all__ = ["reader", "scenes", "server", "service", "story", "summary", "translate", "writer"]
