"""Small runs that a signal stops: `python stopped.py VERB OUT SOURCE SIGNAL STEP RESUME` sends itself SIGNAL once the
metrics of STEP are written (and a checkpoint lies on disk), and goes on from there where RESUME is 1."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from headstart import api
from headstart.algos import registry
from headstart.envs.collect import collect, to_dataset
from headstart.envs.controllers import Scripted
from headstart.errors import HeadstartError
from headstart.train.run import Run

ENV = "headstart/chain?n=5&continuous=1&steps=20"
WRITING = {"log_every": 30, "eval_every": 50, "checkpoint_every": 40, "eval_episodes": 3}


def data():
    return to_dataset(collect(Scripted("random"), ENV, episodes=20, seed=0), ENV, ())


def pretrain(out, source=None, resume=False):
    algorithm = registry.algorithm("iql", actor_widths=(8,), critic_widths=(8,), batch_size=16)
    return api.pretrain(algorithm, data(), steps=130, seeds=2, env=ENV, out=out, resume=resume, **WRITING)


def finetune(out, source, resume=False):
    """Lanes, warm-up, mixed batches and a buffer that is full before the end."""
    return api.finetune(
        source, env=ENV, data=data(), steps=150, lanes=2, collect=5, warmup=20, buffer_rows=100, out=out,
        resume=resume, final_offline_share=0.1, **WRITING,
    )  # fmt: skip


def stop_at(step: int, number: int) -> None:
    """Send this process a signal when the metrics of that step have been written."""
    write = Run.write

    def stopping(self, log, lines):
        write(self, log, lines)
        if log == "metrics" and lines[0]["step"] >= step and not getattr(self, "stopped", False):
            self.stopped = True
            while not any(path.name.isdigit() for path in (self.folder / "checkpoints").iterdir()):
                time.sleep(0.01)
            os.kill(os.getpid(), number)

    Run.write = stopping


if __name__ == "__main__":
    verb, out, source, name, step, resume = sys.argv[1:]
    if name != "none":
        stop_at(int(step), getattr(signal, name))
    try:
        {"pretrain": pretrain, "finetune": finetune}[verb](Path(out), source, resume == "1")
    except HeadstartError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
