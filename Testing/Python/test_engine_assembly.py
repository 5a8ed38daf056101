"""The hot loops are vector code, on this processor and, cross-compiled, on those that the tests do not run on."""

from __future__ import annotations

import re

import pytest

numba = pytest.importorskip("numba", reason="numba is not installed; there is no machine code to read")

import llvmlite.binding as llvm  # noqa: E402
from numba import int64, njit, void  # noqa: E402

from TernarySegmentLib.engine import kernels, vectors  # noqa: E402

ICE_LAKE = "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512vpopcntdq,+avx512bitalg"

SCALAR_COUNT = re.compile(r"\bpopcnt[lqw]?\b|\baddv\b|\bcnt\s+v\d+\.8b")
"""x86 counts bits of one word with popcnt; AArch64 borrows a vector register and adds its bytes up again."""


def counting(voxels: int, lanes: int):
    """The popcount piece alone; its IR names no processor."""
    count = vectors.popcount_block(voxels, lanes)
    return njit(void(*[int64] * 8))(lambda a, b, c, d, e, f, g, h: count(a, b, c, d, e, f, g, h))


def looking_up(voxels: int, groups: int):
    look_up = vectors.lookup_block(voxels, groups)
    return njit(void(*[int64] * 6))(lambda a, b, c, d, e, f: look_up(a, b, c, d, e, f))


def assembly(function, triple: str, cpu: str, features: str) -> str:
    """A compiled function's IR, translated for another processor."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=3)
    module = llvm.parse_assembly(next(iter(function.inspect_llvm().values())))
    module.triple, module.data_layout = triple, str(machine.target_data)
    return machine.emit_assembly(module)


def loops(text: str) -> list[list[str]]:
    """The instructions of each innermost loop: from a label to the jump back to it."""
    found, labels = [], {}
    lines = [line.split("#")[0].split("//")[0].strip() for line in text.splitlines()]
    for number, line in enumerate(lines):
        if line.endswith(":"):
            labels[line[:-1]] = number
        target = re.match(r"(?:j\w+|b\.?\w*|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#?\d+,)\s+(\.?L\w+)$", line)
        if target and labels.get(target[1], number) < number:
            body = [each for each in lines[labels[target[1]] + 1 : number + 1] if each and not each.startswith(".")]
            if not any(each.endswith(":") and each[:-1] in line for each in body):
                found.append(body)
    return found


def hottest(text: str, instruction: str) -> list[str]:
    """The loop with the most of an instruction in it."""
    return max(loops(text), key=lambda body: sum(bool(re.match(instruction, line)) for line in body), default=[])


def count_of(body: list[str], instruction: str) -> int:
    return sum(bool(re.search(instruction, line)) for line in body)


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "shape", "instruction", "at_least"),
    [
        # voxels × 32 channels × 2 counts, in vectors of 16, 8 or 4 lanes
        pytest.param(
            "x86_64-unknown-linux-gnu", "icelake-server", ICE_LAKE, (4, 16), r"vpopcntd\s.*%zmm", 16, id="VPOPCNTDQ"
        ),
        # without it a count is two shuffles
        pytest.param("x86_64-unknown-linux-gnu", "skylake-avx512", "", (4, 16), r"vpshufb\s.*%zmm", 32, id="AVX-512"),
        pytest.param("x86_64-unknown-linux-gnu", "haswell", "", (2, 8), r"vpshufb\s.*%ymm", 32, id="AVX2"),
        pytest.param("aarch64-unknown-linux-gnu", "neoverse-n1", "", (2, 8), r"cnt\s+v\d+\.16b", 32, id="NEON"),
        pytest.param("arm64-apple-macosx", "apple-m1", "", (2, 8), r"cnt(\.16b\s|\s+v\d+\.16b)", 32, id="Apple"),
    ],
)
def test_population_counts_are_vector_code(triple, cpu, features, shape, instruction, at_least):
    text = assembly(counting(*shape), triple, cpu, features)
    body = hottest(text, instruction)
    assert count_of(body, instruction) >= at_least, "\n".join(body)
    assert not SCALAR_COUNT.search("\n".join(body))
    if "zmm" in instruction or "cnt" in instruction:  # where it is the kernel of choice, and registers abound
        assert count_of(body, r"vmov\w+\s+%zmm\d+, .*\(%rsp\)|st[rp]\s+q\d+,.*\[sp") == 0, "sums must stay in registers"


def test_a_scalar_count_would_be_noticed():
    text = assembly(counting(1, 1), "x86_64-unknown-linux-gnu", "haswell", "")
    assert SCALAR_COUNT.search(text)


@pytest.mark.skipif(not vectors.AVX2, reason="this processor has no AVX2, for which the lookups are written")
@pytest.mark.parametrize(("voxels", "groups"), [(4, 2), (8, 1)])
@pytest.mark.parametrize("cpu", ["haswell", "znver3", "skylake-avx512", "alderlake"])
def test_lookups_are_a_shuffle_and_an_addition_and_nothing_is_spilled(cpu, voxels, groups):
    body = hottest(assembly(looking_up(voxels, groups), "x86_64-unknown-linux-gnu", cpu, ""), "vpshufb")
    products = 2 * voxels * groups  # a byte of weights holds two steps
    assert count_of(body, r"vpshufb\s") == products
    assert count_of(body, r"vpaddb\s") == products
    assert count_of(body, r"vmov\w+\s+%ymm\d+, .*\(%rsp\)") == 0, "sums must stay in registers"


@pytest.mark.parametrize("name", ["_convolve_lookup", "_convolve_popcount"])
def test_the_whole_kernels_are_vector_code_on_this_processor(name):
    kernel = getattr(kernels, name)
    if not hasattr(kernel, "py_func"):
        pytest.skip("this processor lacks the instructions of that kernel")
    fresh = njit(kernel.nopython_signatures[0])(kernel.py_func)  # what comes from the cache has no assembly
    text = next(iter(fresh.inspect_asm().values()))
    assert not SCALAR_COUNT.search(text)
    counted = r"vpopcntd\s" if "avx512vpopcntdq" in vectors.features() and name == "_convolve_popcount" else None
    instruction = counted or (r"vpshufb\s" if vectors.AVX2 else r"cnt[.\s]")
    assert count_of(hottest(text, instruction), instruction) >= 16
