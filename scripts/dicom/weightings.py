"""What an MR series is, from its times and tags, never from its description alone."""

from __future__ import annotations

import re

from .frames import Facts

FAT_SATURATED = {"FS", "FATSAT", "FAT_SAT", "FSAT", "WE", "SPIR", "SPAIR"}


COMPRESSION_WORDS = {
    "algorithm", "and", "by", "coding", "compress", "compressed", "compression", "decompressed", "dicom", "encoded",
    "encoding", "first", "from", "huffman", "image", "images", "is", "j", "jpeg", "jpegls", "k", "lossless",
    "losslessly", "ls", "method", "only", "order", "point", "prediction", "process", "ratio", "reversible", "rle",
    "selection", "sv", "syntax", "the", "to", "transfer", "transform", "using", "value", "was", "were", "with",
}  # fmt: skip


def named_lossless(derivation: str) -> bool:
    """Return whether a DerivationDescription names lossless compression and nothing else."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"non-?hierarchical", "", derivation.lower()))
    compressed = any(word.startswith("lossless") for word in words) and any("compress" in word for word in words)
    return compressed and COMPRESSION_WORDS.issuperset(words)


def fat_suppression(facts: Facts) -> str:
    """Return how fat was suppressed; empty where the tags name no way."""
    if facts.ti_ms is not None and 80 <= facts.ti_ms <= 300 and {"IR", "SE"} & set(facts.sequence):
        return f"STIR (inversion time {facts.ti_ms:g} ms)"
    saturated = FAT_SATURATED & set(facts.scan_options)
    if saturated:
        return f"fat saturation (ScanOptions {', '.join(sorted(saturated))})"
    named = [value for value in facts.suppression if value not in ("", "NONE")]
    if named:
        return f"fat suppression (spectrally selective: {', '.join(named)})"
    if {"WATER", "W"} & set(facts.image_type[2:]):
        return "water image (Dixon)"
    return ""


def weighting(facts: Facts) -> str:
    """Name the weighting: ``T2``, ``T2*``, ``T1``, ``PD``, or empty where the tags fit none or lack the times."""
    te_ms, tr_ms, kinds = facts.te_ms, facts.tr_ms, set(facts.sequence)
    if te_ms is None:
        return ""
    if "SE" not in kinds:
        return "T2*" if "GR" in kinds and te_ms >= 8 else ""
    if tr_ms is None:
        return ""
    if te_ms >= 60:
        return "T2" if tr_ms >= (1000 if facts.acquisition_type == "3D" else 2000) else ""
    if te_ms < 35 and tr_ms < 1200:
        return "T1"
    return "PD" if tr_ms >= 1800 else ""
