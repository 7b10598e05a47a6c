"""Parts of results.json beside the rows: placement, example images, and the machine."""

from __future__ import annotations

from benchmarks.record.rows import Record
from deploy.plan.plan import SkippedNode


class Layer(Record):
    """One executed layer of an engine, joined with the plan that its graph was made from.

    Attributes:
        name, kind, precision: the engine's own name; "Conv" for every convolution; the kernel's arithmetic.
        ms: median time by the vendor's profiler, which slows the engine down.
        output: type of its first result; "" where the engine lists no results.
        modules: paths of the network's modules in it; empty for layers that the plan does not name.
        scale, origin, rule: of the quantized activation that it reads (see `deploy.apps.provenance`).
        why_float: why the rules left it in float.
        snr_db: of its output against FP32's, where it is a weighted operator.
    """

    name: str
    kind: str
    precision: str
    ms: float
    output: str = ""
    modules: tuple[str, ...] = ()
    scale: float | None = None
    origin: str = ""
    rule: str = ""
    why_float: str = ""
    snr_db: float | None = None


class Placed(Record):
    """Quantized activations counted by the rule that placed them, quantized weights, and every skip."""

    activations: dict[str, int]
    weights: int
    skips: tuple[SkippedNode, ...]


class NamedColor(Record):
    """One entry of a legend: a class or a kind of difference, and its RGB colour."""

    name: str
    color: tuple[int, int, int]


class Example(Record):
    """One validation image of the report: PNG files by title, relative to results.json, and words below them."""

    name: str
    pictures: dict[str, str]
    caption: str


class Examples(Record):
    """Example images, with the answers of one backend's FP32 and INT8 engines.

    Attributes:
        chosen: description of the images.
        legend: meaning of colours in pictures of differences.
    """

    backend: str
    chosen: str
    legend: tuple[NamedColor, ...]
    items: tuple[Example, ...]


class Environment(Record):
    """The machine and process of a measurement.

    Attributes:
        cpu_flags: instruction-set extensions that matter to inference kernels.
        cpu_cores, cpu_threads: physical cores of the machine; logical ones this process may use.
        load_1min: load average at the start of the benchmark; well above zero, the machine was busy.
        variables: environment variables that change timing, where set.
    """

    cpu: str
    cpu_flags: tuple[str, ...]
    cpu_cores: int
    cpu_threads: int
    load_1min: float | None
    gpu: str | None
    os: str
    python: str
    packages: dict[str, str]
    variables: dict[str, str]


class MachineState(Record):
    """The machine at one moment; clocks are means over all CPUs, of the first GPU.

    Attributes:
        at_s: monotonic clock.
        own_cpu_s, busy_cpu_s: CPU time of this process so far; CPU time of all processes since boot.
    """

    at_s: float
    load_1min: float | None
    cpu_mhz: float | None
    gpu_mhz: float | None
    process_threads: int | None
    own_cpu_s: float
    busy_cpu_s: float | None


class Conditions(Record):
    """The machine before and after engines were measured, and the CPUs that other processes kept busy meanwhile."""

    before: MachineState
    after: MachineState
    others_cpus: float | None
