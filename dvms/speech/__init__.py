"""Speech: text becomes a spoken file.

`service` is the trade; `voices` the engines behind it: hibari (English, in the package), espeak-ng (other languages,
where it is installed), and any server with the `/v1/audio/speech` call.
"""

__all__ = ["service", "voices"]
