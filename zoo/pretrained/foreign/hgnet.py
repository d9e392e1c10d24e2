"""The names that transformers gives the parameters of PP-HGNetV2, and its config.json. Its networks have no convolution
after the pooling, which ours by name have."""
from __future__ import annotations

from .configs import Config, ConfigReader, Read, given_fields, only
from .layout import Described, State, headless
from .resnet import DETECTORS
from .templates import Rule, TemplateLayout

STEM = ('stem1', 'stem2a', 'stem2b', 'stem3', 'stem4')
_LAYER = (('convolution', 'conv'), ('normalization', 'bn'), ('lab', 'lab'))
_BLOCK = ('encoder.stages.{i}.blocks.{j}.', 'stages.{i}.blocks.{j}.')


class HgnetLayout(TemplateLayout):
    """That of transformers, of a network by itself or in a detector (D-FINE), of which nothing else is taken."""

    name, classifiers, starts = 'transformers HGNetV2', ('fc',), DETECTORS
    marks = ('embedder.stem2a.convolution.weight', 'encoder.stages.0.blocks.0.layers.0.convolution.weight')
    networks: dict[tuple[int, ...], str] = {       # channels inside the first block, and of what comes out of it
        (16, 64): 'hgnetv2_b0', (32, 64): 'hgnetv2_b1', (32, 96): 'hgnetv2_b2', (32, 128): 'hgnetv2_b3',
        (48, 128): 'hgnetv2_b4', (64, 128): 'hgnetv2_b5', (96, 192): 'hgnetv2_b6',
    }
    rules = (Rule('fc', 'head.fc'), *(
        Rule(f'{theirs}.{part}', f'{ours}.{name}') for part, name in _LAYER for theirs, ours in (
            *((f'embedder.{stem}', f'stem.{stem}') for stem in STEM),
            ('encoder.stages.{i}.downsample', 'stages.{i}.downsample'),
            *((_BLOCK[0] + layer, _BLOCK[1] + layer) for layer in (
                'layers.{k}', 'layers.{k}.conv1', 'layers.{k}.conv2', 'aggregation.{k}')))))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        kernels = [state.get(f'stages.0.blocks.0.{name}.conv.weight') for name in ('layers.0', 'aggregation.1')]
        name = self.networks.get(tuple(len(kernel) for kernel in kernels if kernel is not None))
        return name, {**headless(state), 'head_hidden_size': 0} if name else {}


LAYOUTS = (HgnetLayout(),)

# --- config.json

_HGNET = dict(stem_channels=[3, 32, 48], stem_strides=[2, 1, 1, 2, 1], stage_in_channels=[48, 128, 512, 1024],
              stage_mid_channels=[48, 96, 192, 384], stage_out_channels=[128, 512, 1024, 2048],
              stage_num_blocks=[1, 1, 3, 1], stage_downsample=[False, True, True, True],
              stage_downsample_strides=[2, 2, 2, 2], stage_light_block=[False, False, True, True],
              stage_kernel_size=[3, 3, 5, 5], stage_numb_of_layers=[6, 6, 6, 6], use_learnable_affine_block=False,
              hidden_act='relu', image_size=224)


def _hgnet(config: Config) -> Read:
    given = given_fields(config, _HGNET)
    out, stem = given['stage_out_channels'], given['stem_channels']
    only(given, stem_strides=[2, 1, 1, 2, 1], stage_in_channels=[stem[2], *out[:-1]], hidden_act='relu',
         stage_downsample=[number > 0 for number in range(len(out))])
    if given['stage_downsample_strides'][1:] != [2] * (len(out) - 1):
        raise ValueError(f'stage_downsample_strides is {given["stage_downsample_strides"]}; networks here have 2 from '
                         'the second on.')
    arguments = dict(
        stem_chs=tuple(stem[1:]), mid_chs=tuple(given['stage_mid_channels']), out_chs=tuple(out),
        block_num=tuple(given['stage_num_blocks']), layer_num=tuple(given['stage_numb_of_layers']),
        light_block=tuple(given['stage_light_block']), kernel_size=tuple(given['stage_kernel_size']),
        use_lab=given['use_learnable_affine_block'], head_hidden_size=0, size=given['image_size'])
    name = HgnetLayout.networks.get((given['stage_mid_channels'][0], out[0]), 'hgnetv2_b4')
    return name, arguments, dict(first_conv='stem.stem1.conv', classifier='head.fc', paper_ids=None)


CONFIGS = {'hgnet_v2': ConfigReader(_hgnet)}
