"""The type of a file by its first bytes (what a server says about it is not evidence)."""

from typing import Final

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"MThd", "audio/midi"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x7fELF", "application/x-elf"),
    (b"MZ", "application/x-msdownload"),
)
_RIFF: Final = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_EXTENSIONS: Final = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp", "image/svg+xml": ".svg",
    "image/avif": ".avif", "image/bmp": ".bmp", "image/heic": ".heic", "audio/mp4": ".m4a", "video/mp4": ".mp4",
    "video/quicktime": ".mov", "video/webm": ".webm", "video/x-matroska": ".mkv", "video/x-msvideo": ".avi",
    "audio/ogg": ".ogg", "audio/flac": ".flac", "audio/mpeg": ".mp3", "audio/wav": ".wav", "audio/aac": ".aac",
    "audio/midi": ".mid", "application/pdf": ".pdf", "application/zip": ".zip", "application/gzip": ".gz",
    "text/html": ".html", "application/json": ".json", "text/plain": ".txt",
}  # fmt: skip
_BRANDS: Final = {
    b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"qt  ": "video/quicktime", b"avif": "image/avif",
    b"avis": "image/avif", b"heic": "image/heic", b"mif1": "image/heic",
}  # fmt: skip


def sniff(head: bytes) -> str:
    """The MIME type of a file that starts with `head` (give at least 512 bytes). Never raises."""
    for signature, mime in _SIGNATURES:
        if head.startswith(signature) and (len(signature) > 2 or b"\x00" in head[:64] or mime == "application/gzip"):
            return mime
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head[:4] == b"\x1aE\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # an MPEG frame without tags
        return "audio/aac" if head[1] & 0xF6 == 0xF0 else "audio/mpeg"
    return _text(head)


def _text(head: bytes) -> str:
    try:
        text = head.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut off at the end of `head` is no objection
            return "application/octet-stream"
        text = head[: error.start].decode()
    if "\x00" in text:
        return "application/octet-stream"
    lead = text.lstrip().lower().encode()[:300]
    if lead.startswith(_HTML) or (lead.startswith(b"<!--") and b"<html" in lead):
        return "text/html"
    if b"<svg" in lead and lead.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")):
        return "image/svg+xml"
    return "application/json" if lead.startswith((b"{", b"[")) else "text/plain"


def extension(mime: str) -> str:
    """A file name's ending for a MIME type, with its dot; empty where there is no usual one."""
    return _EXTENSIONS.get(mime.partition(";")[0].strip().lower(), "")
