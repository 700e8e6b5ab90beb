"""The parts that the end-to-end tests share: servers, the sidecar, workers, plain SQL at a prompt, and
the frame they run in."""

from .case import QUICK, MariadbCase, SqliteCase, full_only, main, shared_mariadb
from .paths import BUILD, ROOT, SAMPLES, harness_for_others, program, program_for_others, temporary_folder
from .rpc import Rpc, RpcError
from .sidecar import Sidecar
from .worker import Worker

__all__ = ["BUILD", "MariadbCase", "QUICK", "ROOT", "Rpc", "RpcError", "SAMPLES", "Sidecar", "SqliteCase", "Worker",
           "full_only", "harness_for_others", "main", "program", "program_for_others", "shared_mariadb",
           "temporary_folder"]
