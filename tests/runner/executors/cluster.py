"""A real SLURM on this machine: two pretended GPUs and two partitions, of which one goes first.

And a sweep that any cluster can carry out.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from flowbench.runner.attempt import MODEL, PLACED, AttemptDir

DAEMONS = ("slurmctld", "slurmd")
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has the daemons
MISSING = [name for name in (*DAEMONS, *COMMANDS) if shutil.which(name, path=PATH) is None]

CONF = """\
ClusterName=flowbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 State=UP
PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=10 State=UP
"""
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Slurm:
    """The daemons, and what asks them.

    Args:
        root: A folder for all that they write.
    """

    def __init__(self, root: Path) -> None:
        self.host = socket.gethostname().partition(".")[0]
        self._root = root
        for name in ("state", "spool"):
            (root / name).mkdir()
        facts = {"host": self.host, "user": getpass.getuser(), "root": root, "cpus": CPUS}
        (root / "slurm.conf").write_text(CONF.format(ports=_free_ports(2), **facts))
        (root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        devices = "".join(f"Name=gpu File=/dev/{name}\n" for name in ("null", "zero"))
        (root / "gres.conf").write_text(devices)
        self.environment = {
            **os.environ,
            "PATH": PATH,
            "SLURM_CONF": str(root / "slurm.conf"),
            "FLOWBENCH_IMPORT_LIMIT": "600",  # of a machine that does much else
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.start("slurmctld")
        self.start("slurmd")
        wait_for(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), 30.0)

    def start(self, daemon: str) -> None:
        node = ["-N", self.host] if daemon == "slurmd" else []
        self._running[daemon] = subprocess.Popen(
            [daemon, "-D", *node],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self, daemon: str) -> None:
        process = self._running.pop(daemon)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def close(self) -> None:
        self.ask("scancel", "-u", getpass.getuser())
        wait_for(lambda: not self.ask("squeue", "-h"), 20.0)
        for process in self._running.values():
            process.terminate()
            process.wait()


def wait_for(is_so: Callable[[], bool], seconds: float) -> None:
    """Waits until something is so."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


SWEEP = ["run", "--models", "fake-gaussian", "--datasets", "fake-images", "--budget", "20steps"]
SWEEP += ["--metrics", "fake_nll", "--seeds", "0-1", "--trials", "4"]
SWEEP += ["--sweep", "fake-gaussian.training.lr=log(1e-3,1e-1)"]


def trials_handed_over(results: Path) -> int:
    """How many trials of a sweep a queue has, or had."""
    return len(list((results / "runs").glob(f"*/[0-9]*/{PLACED}")))


def assert_swept(results: Path, said: str) -> None:
    """Checks that each trial of `SWEEP` ran once, and the best with both seeds."""
    assert "best of 4 trials" in said, said
    attempts = [AttemptDir(path) for path in (results / "runs").glob("*/[0-9]*")]
    records = [record for one in attempts if (record := one.record()) is not None]
    assert {record.status for record in records} == {"ok"}
    assert sorted(r.trial.number for r in records if r.trial) == [0, 1, 2, 3]
    measured = [record for record in records if record.trial is None]
    assert sorted(record.job.seed for record in measured) == [0, 1]
    assert [r.tuning.trials for r in measured if r.tuning] == [4, 4]
    scores = {r.trial.value: r.job.overrides for r in records if r.trial and r.trial.value}
    assert all(record.job.overrides == scores[min(scores)] for record in measured)
    kept = {job.parent.parent.name for job in (results / "runs").glob(f"*/*/{MODEL}")}
    assert kept == {record.job.job_id for record in measured}
