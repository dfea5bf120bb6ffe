"""What is wrong with a launch is said before it starts: configuration, devices, port."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

from harness.core.errors import BadRecord, EnvironmentProblem, MissingExtra, nearest
from harness.core.machine import cores
from harness.engine.children import LOOPBACK, free_ports
from harness.training.settings import LaunchSettings

PRESETS = Path(__file__).with_name("launches")
KINDS = ("MULTI_GPU", "FSDP", "DEEPSPEED")  # distributed types of accelerate, for CUDA GPUs


def checked_launch(launch: LaunchSettings, device: str, dtype: str) -> list[str]:
    """Options of `accelerate launch`.

    Raises:
        BadRecord: the configuration cannot be read, or is for something else.
        EnvironmentProblem: more processes than devices, a port in use.
        MissingExtra: accelerate or DeepSpeed is not installed.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtra("accelerate", "train")
    path = config_file(launch.config)
    config = _read(path)
    _check_kind(path, config, device, launch.config)
    _check_devices(launch, device)
    return [
        *("--config_file", str(path)),
        *("--num_processes", str(launch.processes)),
        *("--num_machines", str(launch.machines)),
        *("--mixed_precision", "bf16" if dtype == "bfloat16" else "no"),
        *("--main_process_port", str(_port(path, config))),
    ]


def config_file(name: str) -> Path:
    """The file of a preset, or the user's own.

    Raises:
        BadRecord: neither.
    """
    presets = {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}
    if name in presets:
        return presets[name]
    path = Path(name)
    if path.is_file():
        return path.absolute()
    guess = nearest(name, presets)
    raise BadRecord(
        f'launch.config is "{name}", which is no file; expected {", ".join(presets)} or a '
        "configuration of accelerate (accelerate config)"
        + (f'; did you mean "{guess}"?' if guess else "")
    )


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadRecord(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or "distributed_type" not in found:
        raise BadRecord(
            f"{path} has no distributed_type; expected a configuration of accelerate (accelerate "
            "config writes one)"
        )
    return found


def _check_kind(path: Path, config: dict[str, Any], device: str, name: str) -> None:
    kind = str(config["distributed_type"])
    if device == "cpu":
        if path.parent != PRESETS or path.stem != "ddp":
            raise EnvironmentProblem(
                f'launch.config = "{name}" ({kind}) is for GPUs, and this run is on the CPU, where '
                'accelerate shards nothing: set launch.config = "ddp"'
            )
        return
    if kind not in KINDS or config.get("use_cpu"):
        found = "the CPU (use_cpu)" if config.get("use_cpu") else kind
        raise EnvironmentProblem(
            f"{path} is for {found}, but this machine has CUDA GPUs; expected distributed_type "
            f"{', '.join(KINDS)}"
        )
    if int(config.get("num_machines") or 1) > 1:
        raise BadRecord(
            f"{path}: num_machines is {config['num_machines']}; set it to 1, and launch.machines "
            "to the number of machines"
        )
    if kind == "DEEPSPEED":
        _check_deepspeed(path, config.get("deepspeed_config") or {})


def _check_deepspeed(path: Path, config: dict[str, Any]) -> None:
    if importlib.util.find_spec("deepspeed") is None:
        raise EnvironmentProblem(f"{path} needs DeepSpeed: pip install deepspeed")
    own_file = "deepspeed_config_file" in config
    if config.get("zero_stage") == 3 and not own_file and not config.get("zero3_save_16bit_model"):
        raise BadRecord(
            f"{path}: with zero3_save_16bit_model = false the trained weights could not be saved: "
            "set it to true"
        )


def _check_devices(launch: LaunchSettings, device: str) -> None:
    if device == "cpu":
        count, kind = cores(), "core"
    else:
        import torch

        count, kind = torch.cuda.device_count(), "GPU"
    processes = launch.processes // launch.machines
    each = f" on each of {launch.machines} machines" if launch.machines > 1 else ""
    if processes > count:
        raise EnvironmentProblem(
            f"launch.processes is {processes}{each}, but this process sees {count} "
            f"{kind}{'' if count == 1 else 's'}: set launch.processes to {count * launch.machines} "
            "or less"
        )


def _port(path: Path, config: dict[str, Any]) -> int:
    """The port at which ranks meet: that of the configuration, or a free one."""
    given = config.get("main_process_port")
    if not given:
        return free_ports(1)[0]
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, int(given)))
        except OSError as error:
            raise EnvironmentProblem(
                f"{path}: main_process_port {given} is in use ({error.strerror}): leave it out, "
                "and a free one is taken"
            ) from None
    return int(given)
