"""The module measures what some steps of a pack's first stack take of a GPU."""

from __future__ import annotations

import torch

from mpc_router import trainer
from sweeps.records import Pack, config_of
from sweeps.study.pack_share import DryStep
from sweeps.worker.job import Job
from sweeps.worker.stack import group_trials, is_joint
from sweeps.worker.step_time import measured_steps


def dry_step(pack: Pack, job: Job) -> DryStep | None:
    """Measures steps of the pack's first stack on the GPU, and of routers on the processor too.

    None where torch sees no GPU. The memory is what the GPU has lost meanwhile, all of this
    process's: torch's reserve at its peak, and what CUDA takes for itself.
    """
    if not torch.cuda.is_available():
        return None
    first = group_trials(pack)[0][0]
    inputs = trainer.open_inputs(job.prepared[first.prepared], config_of(first))
    torch.cuda.empty_cache()  # of the kind of pack that was measured before
    torch.zeros(1, device="cuda")  # CUDA takes its own part at the first use
    free, memory = torch.cuda.mem_get_info()
    taken = memory - free - torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    on_gpu = measured_steps(pack, inputs, threads=job.threads, gpus=1.0)
    peak = taken + torch.cuda.max_memory_reserved()
    cpu_seconds = None
    if not is_joint(first):
        cpu_seconds = measured_steps(pack, inputs, threads=job.threads, gpus=0.0).step
    return DryStep(peak=peak, memory=memory, gpu_seconds=on_gpu.step, cpu_seconds=cpu_seconds)
