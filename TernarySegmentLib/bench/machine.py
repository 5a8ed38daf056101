"""The processor, and how each library is kept from using all of it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path

LIBRARIES = ("numpy", "numba", "llvmlite", "torch", "onnxruntime", "openvino", "SimpleITK")

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"})
"""Flags of processors that multiply bfloat16."""


@dataclass(frozen=True)
class InstructionSet:
    """A limit on the instructions that the libraries may use.

    Attributes:
        name: as it stands in the tables.
        needs: processor flags without which the limit says nothing.
        environment: each library's switch. ONNX Runtime offers none; it is measured uncapped only.
    """

    name: str
    needs: frozenset[str]
    environment: dict[str, str] = field(default_factory=dict)


_AVX2 = ("sse4.2", "popcnt", "avx", "avx2", "bmi", "bmi2", "fma", "f16c", "lzcnt", "movbe")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_ICE_LAKE = (*_AVX512, "avx512vnni", "avx512vpopcntdq", "avx512bitalg", "avx512vbmi", "avx512vbmi2", "avx512ifma")


def _capped(
    name: str, needs: str, onednn: str, aten: str, llvm: str, features: tuple[str, ...]
) -> InstructionSet:  # fmt: skip
    switches = {
        "ONEDNN_MAX_CPU_ISA": onednn,
        "DNNL_MAX_CPU_ISA": onednn,
        "ATEN_CPU_CAPABILITY": aten,
        "MKL_ENABLE_INSTRUCTIONS": aten.upper(),
        "NUMBA_CPU_NAME": llvm,
        "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in features),
    }
    return InstructionSet(name, frozenset(needs.split()), switches)


AS_IS = InstructionSet("as is", frozenset())
INSTRUCTION_SETS = (
    AS_IS,
    _capped("AVX2", "avx2 avx512f", "AVX2", "avx2", "haswell", _AVX2),
    _capped("AVX-512", "avx512bw avx512_vnni", "AVX512_CORE", "avx512", "skylake-avx512", _AVX512),
    _capped("AVX-512 VNNI", "avx512_vnni amx_int8", "AVX512_CORE_VNNI", "avx512", "icelake-server", _ICE_LAKE),
)


@lru_cache(maxsize=1)
def flags() -> frozenset[str]:
    """The processor's flags as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        next((line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features"))), "").split()
    )


def available() -> list[InstructionSet]:
    """The limits that mean something on this processor; those it lacks, or has nothing beyond, are left out."""
    return [each for each in INSTRUCTION_SETS if each.needs <= flags()]


def widest() -> str:
    """What this processor's widest usable integer instructions are called."""
    present = flags()
    steps = (
        ("amx_int8", "AMX"),
        ("avx512_vpopcntdq", "AVX-512 with VNNI and VPOPCNTDQ"),
        ("avx512_vnni", "AVX-512 with VNNI"),
        ("avx512bw", "AVX-512"),
        ("avx_vnni", "AVX2 with VNNI"),
        ("avx2", "AVX2"),
        ("asimd", "NEON"),
    )
    return next((name for flag, name in steps if flag in present), "unknown")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, str | int]:
    """Processor and versions, for the report."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    versions = {name: metadata.version(name) for name in LIBRARIES if util.find_spec(name) is not None}
    return {
        "processor": model,
        "instructions": widest(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
