"""timm.models: what is about all networks."""
from __future__ import annotations

from ..factory import create_model, model_entrypoint
from ..publishing import push_to_hf_hub, save_for_hf
from ..registry import (
    get_arch_name, get_pretrained_cfg, get_pretrained_cfg_value, is_model, is_model_in_modules, is_model_pretrained,
    list_models, list_modules, list_pretrained, split_model_name_tag,
)
from ..spec import PretrainedCfg
from ..train.groups import group_modules, group_parameters
from .entry import (
    DefaultCfg, _cfg, build_model_with_cfg, generate_default_cfgs, load_pretrained, register_model,
    register_model_deprecations, resolve_pretrained_cfg,
)
from .manipulate import (
    adapt_input_conv, checkpoint, checkpoint_seq, clean_state_dict, load_checkpoint, load_state_dict,
    model_parameters, named_apply, named_modules, named_modules_with_params, parse_model_name, remap_state_dict,
    safe_model_name,
)

__all__ = [
    'DefaultCfg', 'PretrainedCfg', '_cfg', 'adapt_input_conv', 'build_model_with_cfg', 'checkpoint',
    'checkpoint_seq', 'clean_state_dict', 'create_model', 'generate_default_cfgs', 'get_arch_name',
    'get_pretrained_cfg', 'get_pretrained_cfg_value', 'group_modules', 'group_parameters', 'is_model',
    'is_model_in_modules', 'is_model_pretrained', 'list_models', 'list_modules', 'list_pretrained',
    'load_checkpoint', 'load_pretrained', 'load_state_dict', 'model_entrypoint', 'model_parameters',
    'named_apply', 'named_modules', 'named_modules_with_params', 'parse_model_name', 'push_to_hf_hub',
    'register_model',
    'register_model_deprecations', 'remap_state_dict', 'resolve_pretrained_cfg', 'safe_model_name', 'save_for_hf',
    'split_model_name_tag',
]
