"""`zoo fetch`: weights downloaded beforehand."""
from __future__ import annotations

import argparse

import zoo
from zoo.spec import PretrainedCfg


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo fetch` to its parser."""
    parser.add_argument('names', nargs='+', metavar='NAME',
                        help="a model, with a tag or for its default weights, or 'hf-hub:user/repository'")
    parser.add_argument('--cache-dir', metavar='FOLDER', help='where to keep them (default: the Hugging Face cache)')


def run(args: argparse.Namespace) -> int:
    """Print where each model's weights lie; every name is looked up before anything is downloaded."""
    for name, cfg in [(name, _record(name, args.cache_dir)) for name in args.names]:
        print(f'{name}\t{zoo.pretrained.fetch(cfg, args.cache_dir)}', flush=True)
    return 0


def _record(name: str, cache_dir: str | None) -> PretrainedCfg:
    if ':' in name:
        return zoo.pretrained.model_config(name, cache_dir)[1]
    cfg = zoo.get_pretrained_cfg(name)
    if cfg is None:
        raise ValueError(f'There are no published weights for {name!r}.')
    return cfg
