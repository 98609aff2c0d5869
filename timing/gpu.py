"""What each node adds to a sampling step on this machine's GPU, as one table to paste into a report.

Run it once with the Python that runs ComfyUI, in a checkout of this repository: `python timing/gpu.py`. It
makes SDXL's UNet of ComfyUI at its real size with random weights (nothing is downloaded), applies one node
after the other, and times steps with guidance (CFG) at 1024 x 1024 px in fp16. In every round everything is
measured once, in turn, so that a busy or a hot card slows all alike. A few minutes; with torch.compile more.

`--tiny` takes a small UNet on the CPU instead: it shows that the script runs, its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from gpu_cases import TINY, Case, cases_of, random_sdxl
from torch import Tensor
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
# Parameters of SDXL's UNet, and bytes that a step at 1024 px with guidance takes beside them in 16 bits.
PARAMETERS = 2.57e9
WORKING = 2.5 * GIBIBYTE
TEXT, POOLED, TIMESTEP = 77, 1280, 500
# Steps before those that are timed: what is compiled is compiled in the first two or three.
READY, READY_COMPILED = 1, 3
HEADINGS = ["", "ms a step", "added, ms", "to plain", "lowest to highest", "peak MiB", "first step, s"]


def use_this_checkout() -> None:
    """Make `instance_composer` the checkout that this file is in, whatever is installed."""
    spec = spec_from_file_location(
        "instance_composer", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["instance_composer"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.extend(str(ROOT / "tests" / folder) for folder in ("support", "support/host"))


def wait(device: torch.device) -> None:
    """Until everything that was launched is done."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def peak_of(device: torch.device, reset: bool = False) -> int:
    """The most bytes torch held on the device since the last reset; 0 where torch does not tell."""
    backend = getattr(torch, device.type, None)
    if device.type == "cpu" or not hasattr(backend, "max_memory_allocated"):
        return 0
    if reset:
        backend.reset_peak_memory_stats()
    return backend.max_memory_allocated()


def run(case: Case, latent: Tensor, steps: int, device: torch.device) -> None:
    """One sampling of a case: steps to get ready, then `steps` that are timed, all at one noise level."""
    import comfy.samplers

    if case.trio is None:
        case.trio = case.make()
    model, positive, negative = case.trio
    ready = READY_COMPILED if case.compiled else READY
    taken: list[float] = []
    peak_of(device, reset=True)
    started = time.perf_counter()

    def sample(denoiser: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
        nonlocal started
        noisy = latent.to(x) * (sigmas[0] ** 2 + 1).sqrt()
        level = sigmas[:1].expand(len(x))
        out = x
        for step in range(ready + steps):
            if step:
                wait(device)
                started = time.perf_counter()
            out = denoiser(noisy, level, **extra_args)
            wait(device)
            taken.append(time.perf_counter() - started)
        if not torch.isfinite(out).all():
            case.remark = " (not finite: do not trust these)"
        return out

    sigma = model.get_model_object("model_sampling").sigmas[TIMESTEP]
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(7.0)
    nothing = torch.zeros_like(latent)
    sigmas = torch.stack((sigma, torch.zeros_like(sigma)))
    guider.sample(nothing, nothing, comfy.samplers.KSAMPLER(sample), sigmas, disable_pbar=True, seed=0)
    case.first = max(case.first, taken[0])
    case.rounds.append(statistics.median(taken[ready:]))
    case.peak = max(case.peak, peak_of(device))


def measure(cases: list[Case], latent: Tensor, rounds: int, steps: int, device: torch.device) -> None:
    """Fill in the cases; one that fails says why in its row and is left out of later rounds."""
    import comfy.model_management

    todo = [(number, case) for number in range(rounds) for case in cases]
    with tqdm(todo, file=sys.stderr, unit="run") as progress:
        for number, case in progress:
            hint = ", compiling takes minutes" if case.compiled and number == 0 else ""
            progress.set_postfix_str(f"round {number + 1} of {rounds}: {case.name}{hint}")
            if case.failure:
                continue
            try:
                run(case, latent, steps, device)
            except comfy.model_management.OOM_EXCEPTION:
                case.failure = "out of memory"
                comfy.model_management.soft_empty_cache()
            except Exception as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                case.failure = f"{type(error).__name__}: {lines[0] if lines else ''}"


def table(cases: list[Case]) -> Iterator[str]:
    """The measurements in Markdown; ratios are of runs in the same round."""
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "|---" + "|---:" * (len(HEADINGS) - 1) + "|"
    plain = cases[0]
    for case in cases:
        if case.failure or plain.failure or not case.rounds:
            yield f"| {case.name} | {case.failure or 'not measured'} |" + " |" * (len(HEADINGS) - 2)
            continue
        pairs = list(zip(case.rounds, plain.rounds, strict=True))
        ratios = [one / other for one, other in pairs]
        added = statistics.median(1000 * (one - other) for one, other in pairs)
        cells = (
            case.name + case.remark,
            f"{1000 * statistics.median(case.rounds):.1f}",
            "" if case is plain else f"{added:+.1f}",
            f"{statistics.median(ratios):.3f}",
            "" if case is plain else f"{min(ratios):.3f} to {max(ratios):.3f}",
            f"{case.peak / MEBIBYTE:,.0f}" if case.peak else "",
            f"{case.first:.1f}",
        )
        yield "| " + " | ".join(cells) + " |"


def head(device: torch.device, settings: argparse.Namespace) -> Iterator[str]:
    """What the numbers depend on, as Markdown lines."""
    import comfy.ldm.modules.attention
    import comfyui_version

    yield f"- device: {describe(device)}"
    yield (
        f"- Instance Composer {version()}, ComfyUI {comfyui_version.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}"
    )
    size = "a small UNet (the numbers mean nothing)" if settings.tiny else "SDXL's UNet"
    attention = comfy.ldm.modules.attention.optimized_attention.__name__
    yield (
        f"- {size}, random weights, {settings.dtype}, {settings.side} x {settings.side} px, guidance (CFG), "
        f"{attention}, torch.compile: {settings.backend if settings.compile else 'not measured'}"
    )
    yield (
        f"- median of {settings.rounds} rounds of {settings.steps} steps, all rows in turn in every round; "
        "the first step counts loading, patching and compiling"
    )


def describe(device: torch.device) -> str:
    if device.type == "cpu":
        return f"CPU ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"
    import comfy.model_management

    total = comfy.model_management.get_total_memory(device) / GIBIBYTE
    name = comfy.model_management.get_torch_device_name(device)
    runtime = torch.version.cuda or getattr(torch.version, "hip", None) or ""
    return f"{name}, {total:.1f} GiB, runtime {runtime}"


def version() -> str:
    """The pack's version, and the commit where git tells it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    number = text.split('\nversion = "', 1)[1].split('"', 1)[0]
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return number
    return f"{number} ({done.stdout.strip()})"


def has_gpu() -> bool:
    """True where torch can compute on CUDA, ROCm, XPU or MPS."""
    backends = (getattr(torch, "cuda", None), getattr(torch, "xpu", None), torch.backends.mps)
    return any(backend is not None and backend.is_available() for backend in backends)


def check_memory(device: torch.device, dtype: torch.dtype, side: int) -> str | None:
    """A sentence if the device has too little memory for the UNet and a step; None if it has enough."""
    import comfy.model_management

    if device.type == "cpu":
        return None
    free = comfy.model_management.get_free_memory(device)
    needed = PARAMETERS * dtype.itemsize + WORKING * dtype.itemsize / 2 * (side / 1024) ** 2
    if free >= needed:
        return None
    return (
        f"{describe(device)} has {free / GIBIBYTE:.1f} GiB free, and the UNet in this type with a step at "
        f"{side} x {side} px takes about {needed / GIBIBYTE:.1f} GiB. Weights that do not fit would be "
        "brought in at every step, and the numbers would be of that. Close what else uses the card, or take "
        "a smaller --side; --tiny shows on the CPU that the script runs."
    )


def report(settings: argparse.Namespace) -> str:
    """All measurements as Markdown. ValueError, in words, where nothing can be measured."""
    use_this_checkout()
    from comfyui_location import HOW_TO_GET_COMFYUI, find_comfyui
    from comfyui_process import start_comfyui

    if find_comfyui() is None:
        raise ValueError(HOW_TO_GET_COMFYUI)
    if not settings.tiny and not has_gpu():
        raise ValueError(
            f"torch {torch.__version__} of {sys.executable} finds no GPU. Run this with the Python that runs "
            "ComfyUI on the GPU; --tiny shows on the CPU that the script runs."
        )
    start_comfyui(cpu=settings.tiny)
    import comfy.model_management

    device = torch.device("cpu") if settings.tiny else comfy.model_management.get_torch_device()
    dtype = DTYPES[settings.dtype]
    if problem := check_memory(device, dtype, settings.side):
        raise ValueError(problem)
    with torch.inference_mode():
        torch.manual_seed(0)
        print("Making the UNet with random weights …", file=sys.stderr, flush=True)
        model = random_sdxl(device, dtype, TINY if settings.tiny else {})
        prompts = tuple(
            [[torch.randn(1, TEXT, 2048), {"pooled_output": torch.randn(1, POOLED)}]] for _ in range(2)
        )
        latent = torch.randn(1, 4, settings.side // 8, settings.side // 8)
        cases = cases_of(model, prompts, settings.backend if settings.compile else None)
        measure(cases, latent, settings.rounds, settings.steps, device)
        return "\n".join((*head(device, settings), "", *table(cases)))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, help="of the picture in pixels, a multiple of 64 (1024)")
    parser.add_argument("--dtype", choices=DTYPES, help="of weights and computation (fp16)")
    parser.add_argument("--rounds", type=int, help="in which every row is measured once (5)")
    parser.add_argument("--steps", type=int, help="timed in a run (5)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--tiny", action="store_true", help="a small UNet on the CPU")
    parser.add_argument("--out", type=Path, help="write the report to a file too")
    settings = parser.parse_args(arguments)
    usual = {"side": 1024, "dtype": "fp16", "rounds": 5, "steps": 5}
    small = {"side": 128, "dtype": "fp32", "rounds": 2, "steps": 1}
    for name, value in (small if settings.tiny else usual).items():
        if getattr(settings, name) is None:
            setattr(settings, name, value)
    if settings.side < 64 or settings.side % 64:
        parser.error(f"--side is {settings.side}; a multiple of 64 is needed, such as 1024.")
    for name in ("rounds", "steps"):
        if getattr(settings, name) < 1:
            parser.error(f"--{name} is {getattr(settings, name)}; at least 1 is needed.")
    return settings


def main() -> int:
    settings = parse()
    try:
        made = report(settings)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(made)
    if settings.out:
        settings.out.write_text(made + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
