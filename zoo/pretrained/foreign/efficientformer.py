"""The config.json of transformers' EfficientFormer.

`layer_norm_eps` is 1e-12 in its files and 1e-5 in the paper's code and our networks by name: logits differ by 5e-5. Its
stochastic depth does not divide `drop_path_rate` by the depth, and is not finite in training; here it grows linearly to
that rate, as in the paper.
"""
from __future__ import annotations

import math

from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of

EFFICIENTFORMERS = {(3, 2, 6, 4): 'efficientformer_l1', (4, 4, 12, 6): 'efficientformer_l3',
                    (6, 6, 18, 8): 'efficientformer_l7'}
EFFICIENTFORMER = dict(
    image_size=224, depths=[3, 2, 6, 4], hidden_sizes=[48, 96, 224, 448], num_meta3d_blocks=1, mlp_expansion_ratio=4,
    pool_size=3, hidden_act='gelu', batch_norm_eps=1e-5, layer_norm_eps=1e-12, use_layer_scale=True,
    layer_scale_init_value=1e-5, hidden_dropout_prob=0.0, drop_path_rate=0.0, distillation=True)
# what no option here changes
FIXED = dict(num_attention_heads=8, key_dim=32, attention_ratio=4, downsample_patch_size=3, downsample_stride=2,
             downsample_pad=1)


def _efficientformer(config: Config) -> Read:
    """Architecture, arguments of zoo.models.efficientformer.EfficientFormer, and the record's fields."""
    given = given_fields(config, EFFICIENTFORMER)
    size, widths = given['image_size'], tuple(given['hidden_sizes'])
    fixed = {**FIXED, 'dim': widths[-1], 'resolution': math.ceil(size / 32), 'downsamples': [True] * len(widths)}
    for key, value in fixed.items():
        if key in config and given[key] != value:
            raise ValueError(f'{key} is {given[key]}; with the other fields, networks here have {value}.')
    if len(widths) != 4 or len(given['depths']) != 4:
        raise ValueError(f'depths and hidden_sizes have 4 stages each, not {len(given["depths"])} and {len(widths)}.')
    teacher = [name.endswith('WithTeacher') for name in config.get('architectures') or ()]
    distillation = any(teacher) if teacher else bool(given['distillation'])
    arguments = dict(
        depths=tuple(given['depths']), embed_dims=widths, num_vit=given['num_meta3d_blocks'],
        mlp_ratios=given['mlp_expansion_ratio'], pool_size=given['pool_size'], img_size=size,
        act_layer=one_of(given, 'hidden_act', ACTIVATIONS), norm_eps=given['batch_norm_eps'],
        layer_norm_eps=given['layer_norm_eps'], distillation=distillation,
        layer_scale_init_value=given['layer_scale_init_value'] if given['use_layer_scale'] else None,
        proj_drop_rate=given['hidden_dropout_prob'], drop_path_rate=given['drop_path_rate'], size=size)
    fields = dict(first_conv='stem.conv1', classifier=('head', 'head_dist') if distillation else 'head',
                  fixed_input_size=True, paper_ids='arXiv:2206.01191')
    return EFFICIENTFORMERS.get(arguments['depths'], EFFICIENTFORMERS[3, 2, 6, 4]), arguments, fields


CONFIGS = {'efficientformer': ConfigReader(_efficientformer, dict(do_center_crop=True))}
