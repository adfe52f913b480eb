"""What a module in the generated code can be called."""

from __future__ import annotations

import re

from blockforge.errors import OpError

# Attributes of nn.Module, nn.Sequential, nn.ModuleList and nn.ModuleDict: a child of that name would break the
# module (a test compares).
RESERVED = frozenset(
    # As text, since a list of a hundred lines would say no more.
    """T_destination _apply _backward_hooks _backward_pre_hooks _buffers _call_impl _compiled_call_impl
    _forward_hooks _forward_hooks_always_called _forward_hooks_with_kwargs _forward_pre_hooks
    _forward_pre_hooks_with_kwargs _get_abs_string_index _get_backward_hooks _get_backward_pre_hooks
    _get_item_by_idx _get_name _is_full_backward_hook _load_from_state_dict _load_state_dict_post_hooks
    _load_state_dict_pre_hooks _maybe_warn_non_full_backward_hook _modules _named_members
    _non_persistent_buffers_set _parameters _register_load_state_dict_pre_hook _register_state_dict_hook
    _replicate_for_data_parallel _save_to_state_dict _slow_forward _state_dict_hooks
    _state_dict_pre_hooks _version _wrapped_call_impl add_module append apply bfloat16 buffers
    call_super_init children clear compile cpu cuda double dump_patches eval extend extra_repr float
    forward get_buffer get_extra_state get_parameter get_submodule half insert ipu items keys
    load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters
    pop register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to
    to_empty train training type update values xpu zero_grad""".split()  # noqa: SIM905
)
_NAME = re.compile(r"[A-Za-z0-9_-]+")
sound_parts: set[str] = set()  # parts of names that were checked: graphs share them by the thousand
MANY = 100_000


def check_parts(name: str) -> None:
    """Refuse a dotted name of which a part can't name a module; raises `OpError`."""
    for part in name.split("."):
        if part not in sound_parts:
            _check_part(name, part)


def _check_part(name: str, part: str) -> None:
    if part.startswith("__"):
        raise OpError(f"{name}: in a class Python changes {part!r}, with its two underscores; choose another name")
    if part in RESERVED:
        raise OpError(f"{name}: nn.Module has an attribute {part!r} of its own; choose another name")
    if not _NAME.fullmatch(part):
        raise OpError(f"{name or repr(name)}: {part!r} is no name for a module; use letters, digits, '_' and '-'")
    if len(sound_parts) < MANY:
        sound_parts.add(part)
