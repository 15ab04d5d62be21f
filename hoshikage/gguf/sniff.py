"""What a file is that is not a GGUF: the usual accidents, by name, with what to do about each."""

from __future__ import annotations

DOWNLOAD = "download the .gguf file itself"
CONVERT = "convert it to GGUF first (llama.cpp's convert_hf_to_gguf.py)"

STARTS = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file it points to",
     "run `git lfs pull` where it was cloned"),
    (b"PK\x03\x04", "it is a ZIP archive or a PyTorch checkpoint", CONVERT),
    (b"\x80", "it is a Python pickle, probably a PyTorch checkpoint", CONVERT),
    (b"\x89HDF", "it is an HDF5 file, probably a Keras checkpoint", CONVERT),
    (b"\x1f\x8b", "it is compressed with gzip", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd", "unpack it first"),
    (b"\xfd7zXZ", "it is compressed with xz", "unpack it first"),
    (b"lmgg", "it is a GGML file of 2023, older than GGUF", "convert the original model again"),
    (b"tjgg", "it is a GGJT file of 2023, older than GGUF", "convert the original model again"),
    (b"fmgg", "it is a GGMF file of 2023, older than GGUF", "convert the original model again"),
    (b"{", "it is a JSON file", DOWNLOAD),
)  # fmt: skip


def name_stranger(raw: bytes, size: int) -> tuple[str, str]:
    """Cause and remedy for a file that does not begin with GGUF's magic."""
    start = raw[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        return "it is a web page, not a model", "download it again; the link may want a login or a direct address"
    if raw[8:9] == b"{" and int.from_bytes(raw[:8], "little") <= size - 8:
        return "it is a safetensors file", CONVERT
    for magic, cause, remedy in STARTS:
        if raw.startswith(magic):
            return cause, remedy
    if not raw.strip(b"\0"):
        return "it begins with zeros only, as an unfinished download does", "download it again"
    return f"it is not a GGUF: it begins with {raw[:4]!r}", DOWNLOAD
