"""What a pass costs on a GPU under every plan: LLaDA's 8 B shape, random weights, against the CLI with CUDA.

    python bench/gpu.py SOURCE.tar.gz           everything: unpacks, builds with CUDA, writes the model, measures
    python bench/gpu.py --measure               only measures, with what a run before has built

Needs nvcc, cmake, ninja and a C++ compiler, the Python of this checkout with its requirements (`make build` installs
them), 30 GB of disk and 10 GB of GPU memory, and no network: SOURCE is what `make pack` made elsewhere. Where that has
no source of the CLI (an older pack) the plans are compared with each other alone, and it says so.
Results go to bench/results/<machine>.csv as those of the other benches do.

It was written where there is no GPU and has not been run on one: the first to do so should read what it prints.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "bench" / "cache" / "gpu" / "source"
# NCCL is for several GPUs. A driver that the linker does not find is there when the program starts.
SWITCHES = "-DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined"
N_ROUNDS = 5
COMMAND = "python bench/gpu.py"
CLI = "llama-diffusion-cli"
NO_PEER = (
    f"bench: nothing is compared with {CLI}: {{}} has no examples/diffusion to build it from. "
    "Remove that folder and name what `make pack` makes now."
)
sys.path.insert(0, str(ROOT))

from bench.peers import program  # noqa: E402


def unpack(packed: Path) -> None:
    """Once: what is there stays."""
    if not SOURCE.exists():
        SOURCE.mkdir(parents=True)
        with tarfile.open(packed) as archive:
            archive.extractall(SOURCE, filter="data")


def source() -> Path:
    """The folder of llama.cpp in what was unpacked, by this run or one before."""
    folders = (SOURCE, *SOURCE.iterdir()) if SOURCE.exists() else ()
    for folder in folders:
        if (folder / "CMakeLists.txt").exists():
            return folder
    raise SystemExit(f"bench: {SOURCE} holds no source of llama.cpp: name the file that `make pack` wrote")


def build() -> None:
    """Our modules, and llama.cpp with CUDA once, of the same source: where it has llama-diffusion-cli, together with
    that, whose libraries are ours as well."""
    plain = {**os.environ, "HOSHIKAGE_LLAMA_CPP": str(source())}
    with_cuda = {**plain, "CMAKE_ARGS": SWITCHES}
    modules = [sys.executable, "setup.py", "build_ext", "--inplace"]
    if has_programs():
        run(modules, plain)
        run([sys.executable, "llama.cpp", "programs", CLI], with_cuda)
        print("bench: the CUDA libraries are those of the CLI; this checkout's own are for the CPU until `make build`")
    else:
        print(NO_PEER.format(source()), file=sys.stderr)
        run(modules, with_cuda)


def run(command: list[str], environment: dict[str, str]) -> None:
    """And show what is run."""
    print("bench:", *command, flush=True)
    subprocess.run(command, check=True, cwd=ROOT, env=environment)


def has_programs() -> bool:
    """Whether the CLI can be built."""
    return (source() / "examples" / "diffusion").is_dir()


def measure() -> None:
    """Times the passes of each plan and the CLI's in turns."""
    os.environ |= {"CMAKE_ARGS": SWITCHES, "HOSHIKAGE_LLAMA_CPP": str(source())}
    if has_programs():
        os.environ["HOSHIKAGE_LIB_PATH"] = str(program(CLI).parent)
    from bench import bench_plans as plans
    from bench.results import record
    from bench.shapes import LLADA_8B, model
    from hoshikage._core import Model
    from hoshikage._devices import gpus
    from hoshikage._raw import fault_of_block_passes

    if not gpus():
        raise SystemExit("bench: llama.cpp finds no GPU: is this build one with CUDA, and nvidia-smi content?")
    name = gpus()[0]["description"]
    path = model("llada-8b", LLADA_8B)
    taken: dict[str, list[float]] = {plan: [] for plan in (*plans.N_WARM, CLI)}
    shares = []
    for _ in range(N_ROUNDS):
        # Loaded in each round, so that the CLI's turns have the GPU's memory to themselves.
        with Model(path) as weights, plans.session_of(weights) as session:
            if fault := fault_of_block_passes(session):
                raise SystemExit(f"bench: a block alone is not computed rightly on {name}: {fault}")
            prompt = plans.text_of_prompt(weights)
            for plan in plans.N_WARM:
                plans.seconds_per_pass(session, plan)  # kernels are loaded and graphs made
                taken[plan].append(plans.seconds_per_pass(session, plan))
            shares.append(plans.share_beside_passes(session))
        if has_programs():
            # Its first block as well is not counted, in which kernels are loaded.
            taken[CLI].append(plans.seconds_per_pass_of_cli(path, prompt, "-ngl", "999", first=plans.BLOCK))
    theirs = taken.pop(CLI)
    peers = {"the whole canvas": median(taken["full"])} | ({CLI: median(theirs)} if theirs else {})
    for plan, times in taken.items():
        for peer, seconds in peers.items():
            detail = f"{1000 * median(times):.1f} and {1000 * seconds:.1f} ms a pass, {name}"
            record(
                f"8 B on a GPU: {plan} plan against {peer}", seconds / median(times), "times the tokens/s",
                asked="no figure", detail=detail, command=COMMAND,
            )  # fmt: skip
    record(
        "8 B on a GPU: scoring and bookkeeping at temperature 0", median(shares), "% of a pass", asked="at most 5",
        detail=f"over all plans, {name}", command=COMMAND,
    )  # fmt: skip
    if not has_programs():
        print(f"\n{NO_PEER.format(source())}", file=sys.stderr)


def main() -> None:
    """Build unless told not to, then measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", nargs="?", type=Path, metavar="SOURCE.tar.gz", help="what `make pack` wrote")
    parser.add_argument("--measure", action="store_true", help="build nothing")
    arguments = parser.parse_args()
    if not arguments.measure:
        if arguments.source is None:
            parser.error("name the packed source, or say --measure")
        unpack(arguments.source)
        build()
    measure()


if __name__ == "__main__":
    main()
