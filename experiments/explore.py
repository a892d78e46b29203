"""Opens a page in the browser to play with a finished run: move its latents, write prompts, translate an image.

    python -m experiments.explore --run runs/gan
    python -m experiments.explore --run runs/gan --compare runs/wgan_gp
    python -m experiments.explore --program runs/gan/exported/generator-3500.stablehlo
    python -m experiments.explore --theory

The page is served from this machine, by default to this machine only, until Ctrl-C. It needs no network, and nothing
leaves the machine. The picture of an image run is the one that the shown `experiments.sample` command writes.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

from experiments import gaussians_2d, sample, translate
from jaxgan.runs import cli
from jaxgan.runs.flags import Flags, PathName, Range


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    run: PathName | None = None  # run folder
    compare: PathName | None = None  # second run folder, shown beside the first with the same settings
    # exported generator (.stablehlo) to explore instead of a run; its networks are not needed
    program: PathName | None = None
    theory: bool = False  # the page of the lecture instead of a run: divergences, transport, a generator that learns
    host: str = "127.0.0.1"  # address to serve the page at; 0.0.0.0 shows it to the whole network
    port: Annotated[int, Range(1, 65535)] | None = None  # port to serve the page at, by default a free one


def main(config: Config) -> None:
    if (config.run is not None) + (config.program is not None) + config.theory != 1:
        raise ValueError("give one of --run FOLDER, --program FILE.stablehlo and --theory")
    if config.compare is not None and config.run is None:
        raise ValueError("--compare needs a --run to compare with")
    from experiments.explorer import serving

    serving.check_address(config.host, config.port)
    with serving.stoppable():
        serving.serve(_page(config), config.host, config.port)


def _page(config: Config) -> Any:
    def module(name: str) -> ModuleType:
        return importlib.import_module(f"experiments.explorer.{name}")

    if config.theory:
        return module("theory").page()
    if config.program is not None:
        return module("programs").page(config.program)
    from experiments.explorer.runs import Explored

    known = sample.EXPERIMENTS | translate.EXPERIMENTS | {gaussians_2d.Config.experiment: gaussians_2d}
    runs = [Explored(folder, known) for folder in (config.run, config.compare) if folder is not None]
    kinds = [_kind_of(run.experiment) for run in runs]
    if len(set(kinds)) > 1:
        raise ValueError(f"{runs[0].folder} and {runs[1].folder} are runs of different kinds")
    return module(kinds[0][0]).page(runs)


def _kind_of(experiment: str) -> tuple[str, ...]:
    """The module of its page in `experiments.explorer`, and for images what they are drawn from."""
    if experiment in translate.EXPERIMENTS:
        return ("translation",)
    if experiment == gaussians_2d.Config.experiment:
        return ("points",)
    module = sample.EXPERIMENTS[experiment]
    return "images", "labels" * (module in sample.WITH_LABELS) + "prompts" * (module in sample.WITH_PROMPTS)


if __name__ == "__main__":
    cli.run(Config, main)
