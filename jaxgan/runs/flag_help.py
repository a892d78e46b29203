"""The layout of `--help`: flags in groups, each with its range beside its default."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Annotated, Any

from jaxgan.runs.config import RunConfig
from jaxgan.runs.flags import Flags, ranges

GROUPS = {
    "run": "preset num_steps seed num_seeds workdir resume init_from log_every sample_every checkpoint_every "
    "evaluate_every keep best",
    "data": "data dataset dataset_b split split_a split_b paired direction data_dir batch_size image_size load_size "
    "flip augment channels channels_a channels_b num_classes text_embeddings vocabulary_size max_words",
    "network": "networks encoder conditioning upsampling blocks levels width widths g_width d_width expansion "
    "group_size patch_layers latent_dim g_norm d_norm dropout",
    "optimization": "loss divergence n_critic g_batch_multiple head_start refresh_every clip penalty_weight "
    "gradient_penalty r1 r2 matching_aware gamma last_gamma mismatch_weight swap interpolation_weight "
    "mode_seeking_weight cycle_weight identity_weight l1_weight pool_size freeze_d learning_rate last_learning_rate "
    "g_learning_rate d_learning_rate decay constant halvings anneal b1 b2 last_b2 ema_decay average",
    "device": "dtype num_devices microbatches remat resident_mib num_workers keep_memory steps_per_call coordinator "
    "num_processes process_id",
    "debugging": "check on_alarm on_nonfinite debug_nans",
}
"""The fields of each group of a `RunConfig`'s flags, in the order in which `--help` shows them."""


def registry_of(tyro: Any, config_class: type) -> Any:
    """A tyro registry that shows ranges and groups, and returns a dict from which the configuration is created.

    A value that is not a number is passed on as text, so that `Flags` refuses it with the same message as for ranges.
    """
    constructors = tyro.constructors
    registry = constructors.ConstructorRegistry()

    def hint(range_text: str, default: str) -> str:
        parts = [range_text, "" if default in ("None", "") else f"default: {default}"]
        return f"({text})" if (text := ", ".join(filter(None, parts))) else ""

    def with_range(field: Any) -> Any:
        if field.name not in optional:  # the hint is "required"
            return field
        range_text = " or ".join(map(str, ranges(field.type)))
        kind = Annotated[field.type, tyro.conf.arg(help_behavior_hint=partial(hint, range_text))]
        if issubclass(config_class, Flags):
            spec = registry.get_primitive_spec(constructors.PrimitiveTypeInfo.make(field.type, set()))
            if isinstance(spec, constructors.PrimitiveConstructorSpec):
                kind = Annotated[kind, dataclasses.replace(spec, instance_from_str=partial(_or_text, spec))]
        return dataclasses.replace(field, type=kind)

    optional = {field.name for field in dataclasses.fields(config_class) if field.default is not dataclasses.MISSING}
    groups: dict[type, tuple[Any, ...]] = {}

    @registry.struct_rule
    def rule(info: Any) -> Any:
        nonlocal busy
        if info.type in groups:
            return constructors.StructConstructorSpec(instantiate=dict, fields=groups[info.type])
        if info.type is not config_class or busy:
            return None
        busy = True  # so that tyro applies its own rule
        try:
            spec = constructors.ConstructorRegistry.get_struct_spec(info)
        finally:
            busy = False
        fields = tuple(map(with_range, spec.fields))
        if not issubclass(config_class, RunConfig):
            return dataclasses.replace(spec, instantiate=dict, fields=fields)
        parts = []
        for name, members in _grouped(fields).items():
            kind = type(name, (), {})  # for tyro a group is a nested struct
            groups[kind] = members
            parts.append(
                constructors.StructFieldSpec(
                    name=name, type=tyro.conf.OmitArgPrefixes[kind], default=kind(), helptext=""
                )
            )
        return dataclasses.replace(spec, instantiate=_joined, fields=tuple(parts))

    busy = False
    return registry


def _grouped(fields: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    """Fields by group; fields that no group lists form the group "experiment", before "device"."""
    listed = {name: group for group, names in GROUPS.items() for name in names.split()}
    order = {name: place for place, name in enumerate(listed)}
    groups: dict[str, list[Any]] = {"run": [], "data": [], "network": [], "optimization": [], "experiment": []}
    groups |= {group: [] for group in GROUPS if group not in groups}
    for field in sorted(fields, key=lambda field: order.get(field.name, 0)):
        groups[listed.get(field.name, "experiment")].append(field)
    return {group: tuple(members) for group, members in groups.items() if members}


def _joined(**groups: dict[str, Any]) -> dict[str, Any]:
    return {name: value for group in groups.values() for name, value in group.items()}


def _or_text(spec: Any, arguments: list[str]) -> Any:
    try:
        return spec.instance_from_str(arguments)
    except ValueError:
        return arguments[0] if spec.nargs == 1 else list(arguments)
