"""What test_clients.py runs in a process of its own: `client_programs.py CLIENT RESULTS zoo|timm`.

Every function uses one program written for timm, unchanged, on networks of zoo, and returns what came out. It knows
nothing of zoo: with timm in its place it does the same, and the two results are compared. Weights are drawn by the
names of the parameters, so both have the same if their names are.
"""
from __future__ import annotations

import re
import sys
import tempfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

CNNS = ('tf_efficientnet_lite0', 'mobilenetv3_small_100', 'mobilenetv4_conv_small', 'hardcorenas_a')
FORMERS = ('efficientformer_l1', 'efficientformerv2_s0')                # fitted to images of 224 pixels
PYRAMIDS = ('resnet18', 'convnext_atto')
SWIN, VIT = 'swin_tiny_patch4_window7_224', 'vit_tiny_patch16_224'
EVA, VITAMIN = 'eva02_tiny_patch14_224', 'vitamin_small_224'
Results = dict[str, Any]


def keys(module: nn.Module) -> list[str]:
    """The names of a state dict, sorted. Where timm's `features_only` wraps a network ('model.') or takes its stages
    apart ('stages_1'), zoo keeps the names that the classifier has."""
    return sorted(plain(key) for key in module.state_dict())


def plain(key: str) -> str:
    """A name of a parameter or a module as zoo has it. The map of a stem comes out of `bn1` in timm, whose
    normalisation includes the activation, and out of `act1` in zoo."""
    key = re.sub(r'^bn1$', 'act1', key)
    key = re.sub(r'\b(stages|stem)_(conv)?(\d)', r'\1.\2\3', key)
    return re.sub(r'\b(model|_backbone)\.model\.', r'\1.', key)


def fill(module: nn.Module) -> nn.Module:
    """Sensible random weights, a function of their names; evaluation mode."""
    with torch.no_grad():
        for key, value in module.state_dict().items():
            generator = torch.Generator().manual_seed(zlib.crc32(plain(key).encode()))
            if not value.is_floating_point():
                continue
            if value.ndim > 1:
                value.normal_(0, value[0].numel() ** -0.5, generator=generator)
            elif key.endswith(('bias', 'running_mean')):
                value.normal_(0, 0.1, generator=generator)
            elif key.endswith('gamma'):
                value.uniform_(0.1, 0.3, generator=generator)
            elif value.ndim:
                value.uniform_(0.8, 1.2, generator=generator)
    return module.eval()


def images(size: int, count: int = 1) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def size_of(name: str) -> int:
    return 224 if name in (*FORMERS, SWIN, VIT, EVA, VITAMIN) else 64


def smp() -> Results:
    import segmentation_models_pytorch as smp
    results: Results = {'preprocessing': smp.encoders.get_preprocessing_params('tu-tf_efficientnet_lite0')}
    cases = [(arch, f'tu-{name}') for name in CNNS for arch in ('Unet', 'FPN', 'DeepLabV3Plus')]
    cases += [('Unet', f'tu-{name}') for name in (*FORMERS, *PYRAMIDS)] + [('DPT', f'tu-{VIT}')]
    cases += [('Unet', 'timm-efficientnet-b0'), ('Unet', 'timm-efficientnet-b3'), ('FPN', 'timm-tf_efficientnet_lite0'),
              ('DeepLabV3Plus', 'timm-efficientnet-b0'), ('Unet', 'timm-skresnet18')]
    for arch, name in cases:
        model = fill(getattr(smp, arch)(name, encoder_weights=None, classes=2, in_channels=3))
        results[f'keys of {arch} {name}'] = keys(model)
        results[f'{arch} {name}'] = model(images(size_of(name.removeprefix('tu-'))))
    return results


def effdet() -> Results:
    from effdet import DetBenchTrain, EfficientDet, get_efficientdet_config
    results = {}
    boxes = torch.tensor([[[5.0, 5.0, 40.0, 40.0]], [[10.0, 20.0, 60.0, 50.0]]])
    for name in (*CNNS, 'efficientnet_b0', 'efficientformerv2_s0'):
        config = get_efficientdet_config('tf_efficientdet_d0')
        config.backbone_name, config.num_classes, config.backbone_args = name, 3, {}
        config.image_size = [size_of(name)] * 2
        if name in FORMERS:
            config.backbone_indices = (1, 2, 3)
        bench = DetBenchTrain(fill(EfficientDet(config, pretrained_backbone=False)), create_labeler=True).eval()
        results[f'keys of {name}'] = keys(bench.model)
        results[f'classes of {name}'], results[f'boxes of {name}'] = map(list, bench.model(images(size_of(name))))
        target = dict(bbox=boxes, cls=torch.tensor([[1.0], [2.0]]), img_scale=torch.ones(2),
                      img_size=torch.tensor([config.image_size] * 2))
        loss = bench.train()(images(size_of(name), 2), target)['loss']
        loss.backward()
        first = next(p for p in bench.model.backbone.parameters())
        assert loss.isfinite() and first.grad.abs().sum() > 0, name
        results[f'loss of {name}'] = loss
    return results


def fastai() -> Results:
    import numpy as np
    import PIL.Image
    from fastai.vision.all import ImageDataLoaders, set_seed, vision_learner
    results = {}
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(8):
            place = Path(folder) / 'ab'[number % 2]
            place.mkdir(exist_ok=True)
            picture = random.integers(0, 255, (224, 224, 3), dtype='uint8')
            PIL.Image.fromarray(picture).save(place / f'{number}.png')
        for name in (*CNNS, *FORMERS):
            set_seed(0, reproducible=True)
            loaders = ImageDataLoaders.from_folder(folder, valid_pct=0.25, seed=0, bs=6, num_workers=0, device='cpu')
            learner = vision_learner(loaders, name, pretrained=False, concat_pool=True, ps=0.0)
            results[f'keys of {name}'] = keys(learner.model)
            before = fill(learner.model).state_dict()
            before = {key: value.clone() for key, value in before.items()}
            with learner.no_bar(), learner.no_logging():
                learner.fit(1, lr=1e-4)
            assert any((before[key] != value).any() for key, value in learner.model[1].named_parameters(prefix='1'))
            results[f'losses of {name}'] = torch.tensor(learner.recorder.values[-1])
    return results


def transformers() -> Results:
    import timm
    from transformers import (
        TimmBackbone, TimmBackboneConfig, TimmWrapperConfig, TimmWrapperForImageClassification,
        TimmWrapperImageProcessor, TimmWrapperModel,
    )
    results = {}
    for name in (*CNNS, *FORMERS, 'resnet18', VIT):
        x = images(size_of(name))
        backbone = fill(TimmBackbone(TimmBackboneConfig(backbone=name, out_indices=(1, 3))))
        maps = backbone(x).feature_maps
        results[f'stages of {name}'] = [[plain(stage) for stage in backbone.stage_names], backbone.channels,
                                         list(backbone.out_indices)]
        results[f'maps of {name}'] = list(maps)
        normalised = any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
        backbone.freeze_batch_norm_2d()
        assert not any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
        results[f'frozen maps of {name}'] = list(backbone(x).feature_maps)
        backbone.unfreeze_batch_norm_2d()
        assert normalised == any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules()) == (name != VIT)
        if sys.argv[3] == 'zoo' and name in (*CNNS, *FORMERS):      # timm's EfficientNet gives an IndexError
            output = backbone(x, output_hidden_states=True)
            assert len(output.hidden_states) == 4
            assert all(torch.equal(a, b) for a, b in zip(output.feature_maps, backbone(x).feature_maps, strict=True))
            assert len(backbone(x).feature_maps) == 2

        record = timm.get_pretrained_cfg(name).to_dict()
        config = TimmWrapperConfig.from_dict(dict(architecture=name, num_classes=1000, pretrained_cfg=record))
        classifier = fill(TimmWrapperForImageClassification(config))
        model = timm.create_model(name)
        model.load_state_dict(classifier.timm_model.state_dict())
        logits = classifier(x).logits
        assert torch.equal(logits, model.eval()(x)), name
        results[f'logits of {name}'] = logits
        results[f'hidden states of {name}'] = list(classifier(x, output_hidden_states=True).hidden_states)
        results[f'labels of {name}'] = [config.id2label[i] for i in (0, 134, 517, 999)]
        with tempfile.TemporaryDirectory() as folder:
            classifier.save_pretrained(folder)
            again = TimmWrapperForImageClassification.from_pretrained(folder).eval()
            assert torch.allclose(again(x).logits, logits, atol=1e-5), name
        bare = fill(TimmWrapperModel(config))(x)
        results[f'bare {name}'] = [bare.last_hidden_state, bare.pooler_output]
        picture = (images(100)[0, :, :80] * 127 + 128).to(torch.uint8).permute(1, 2, 0).numpy()
        results[f'pixels for {name}'] = TimmWrapperImageProcessor(record, name)(picture)['pixel_values']
    return results


def open_clip() -> Results:
    from open_clip.model import CLIP
    from timm.optim import create_optimizer_v2
    results = {}
    text = dict(context_length=8, vocab_size=100, width=32, heads=2, layers=1)
    tokens = torch.arange(16).view(2, 8)
    # the networks with their last layer behind the pooling have another width there than num_features says, which is
    # all that open_clip's projections and attention pools go by: they project with their classifier
    towers = [('tf_efficientnet_lite0', pool, proj) for pool, proj in
              (('', 'linear'), ('avg', 'mlp'), ('abs_attn', ''), ('rot_attn', 'linear'), ('avg', ''))]
    towers += [(name, 'avg', '') for name in CNNS[1:]] + [(name, 'avg', 'linear') for name in (*FORMERS, 'resnet18')]
    towers += [(VIT, 'token', 'linear'), (VIT, 'avg', ''), (VIT, '', 'linear'), (EVA, 'token', ''),
               (VITAMIN, '', 'linear')]
    for name, pool, proj in towers:
        size = size_of(name)
        vision = dict(timm_model_name=name, timm_pool=pool, timm_proj=proj, timm_drop_path=0.1, image_size=size)
        model = fill(CLIP(64, vision, text))
        key = f'{name} {pool!r} {proj!r}'
        results[f'keys of {key}'] = keys(model)
        results[f'{key} image'] = model.encode_image(images(size), normalize=True)
        results[f'{key} text'] = model.encode_text(tokens)
        found = model.visual.forward_intermediates(images(size), indices=2)
        results[f'{key} intermediates'] = list(found['image_intermediates'])
        model.set_grad_checkpointing()
        loss = model.train().encode_image(images(size, 2)).square().mean()
        create_optimizer_v2(model, 'adamw', lr=1e-3, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6).zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.visual.parameters())
        model.lock_image_tower(unlocked_groups=2, freeze_bn_stats=True)
        trainable = {name for name, p in model.visual.trunk.named_parameters() if p.requires_grad}
        assert trainable and len(trainable) < len(list(model.visual.trunk.parameters()))
    return results | configured_towers() | whole_clips()


@torch.no_grad()
def configured_towers() -> Results:
    """EVA's and ViTamin's towers as open_clip has them configured, each at its size and width, with two blocks."""
    import open_clip
    import timm
    from open_clip.model import CustomTextCLIP
    results: Results = {}
    text = dict(context_length=8, vocab_size=100, width=32, heads=2, layers=1)
    configs = {config['vision_cfg'].get('timm_model_name', ''): config
               for config in map(open_clip.get_model_config, open_clip.list_models())}
    for name, config in configs.items():
        if not name.startswith(('eva', 'vitamin')):
            continue
        with patch.object(timm, 'create_model', partial(timm.create_model, depth=2)):
            model = fill(CustomTextCLIP(config['embed_dim'], config['vision_cfg'], text))
        size, _ = model.visual.trunk.patch_embed.img_size           # one config says another image_size
        results[f'keys of {name}'] = keys(model)
        results[f'image of {name}'] = model.encode_image(images(size), normalize=True)
    assert {name.split('_')[0] for name in configs} >= {'eva', 'eva02', 'vitamin'}
    return results


@torch.no_grad()
def whole_clips() -> Results:
    """CLIPs as users make them: both towers and the preprocessing."""
    import open_clip
    import PIL.Image
    results: Results = {}
    picture = PIL.Image.frombytes('RGB', (90, 70), bytes(number * 7 % 256 for number in range(90 * 70 * 3)))
    for name in ('ViTamin-S', 'EVA02-B-16'):
        model, _, preprocess = open_clip.create_model_and_transforms(name)
        x = preprocess(picture).unsqueeze(0)
        image, text, scale = fill(model)(x, torch.arange(77).unsqueeze(0))
        results |= {f'pixels for {name}': x, f'image of whole {name}': image, f'text of whole {name}': text,
                    f'scale of {name}': scale}
    return results


def torchseg() -> Results:
    import torchseg
    results = {}
    for name in ('efficientnet_b0', 'tf_efficientnet_lite0', 'mobilenetv3_small_100', 'hardcorenas_a'):
        model = fill(torchseg.Unet(name, encoder_weights=None, classes=2))
        results[f'keys of {name}'] = keys(model)
        results[name] = model(images(64))
    return results


def grad_cam() -> Results:
    import timm
    from pytorch_grad_cam import GradCAM, HiResCAM
    from timm.models.swin_transformer import WindowAttention
    from timm.models.vision_transformer import Attention
    results = {}
    layers = {'resnet18': 'layer4', 'convnext_atto': 'stages.3', VIT: 'blocks.10.norm1', SWIN: 'layers.3.blocks.1.norm1'}
    for name in (*CNNS, *FORMERS, *layers):
        model = fill(timm.create_model(name))
        layer = model.get_submodule(layers[name]) if name in layers else \
            model.stages[-2] if name in FORMERS else model.blocks[-1]
        as_map = {VIT: lambda x: x[:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2), SWIN: lambda x: x.permute(0, 3, 1, 2)}
        for method in (GradCAM, HiResCAM):
            with method(model=model, target_layers=[layer], reshape_transform=as_map.get(name)) as cam:
                found = torch.from_numpy(cam(images(size_of(name)), targets=None))
            assert found.shape[-1] == size_of(name) and found.isfinite().all(), name
            results[f'{method.__name__} of {name}'] = found
    assert sum(found.max() > 0.5 for found in results.values()) > len(results) / 2         # some are nowhere positive
    for name, kind in ((VIT, Attention), (SWIN, WindowAttention)):                         # as programs hook attention
        model = fill(timm.create_model(name))
        seen: list[Tensor] = []
        hooked = [m for m in model.modules() if isinstance(m, kind)]
        for module in hooked:
            module.register_forward_hook(lambda module, inputs, output: seen.append(output))
        model(images(224))
        results[f'attention of {name}'] = [seen[0], seen[-1], hooked[0].qkv(torch.ones(1, 2, hooked[0].qkv.in_features))]
        results[f'layers of attention of {name}'] = [len(seen), hooked[0].num_heads, round(hooked[0].scale, 5)]
    return results


def torch_pruning() -> Results:
    import timm
    import torch_pruning
    results = {}
    for name in (*CNNS, 'mobilenetv4_hybrid_medium', *FORMERS, *PYRAMIDS):
        model, x = fill(timm.create_model(name)), images(256 if 'hybrid' in name else size_of(name))
        last = [model.head, model.head_dist] if name in FORMERS else [model.get_classifier()]
        # heads share out attention's channels by fixed numbers, which no pruning of single channels keeps
        attention = [part for m in model.modules() if 'Attention' in type(m).__name__ for part in m.modules()]
        params = sum(p.numel() for p in model.parameters())
        pruner = torch_pruning.pruner.MagnitudePruner(
            model, x, torch_pruning.importance.MagnitudeImportance(), pruning_ratio=0.3,
            ignored_layers=last + attention)
        pruner.step()
        model.train().eval()                        # timm's attention keeps biases with their history, until trained
        macs, pruned = torch_pruning.utils.count_ops_and_params(model, x)
        assert macs > 0 and pruned < 0.9 * params, name
        results[f'parameters of {name}'] = [params, pruned]
        results[f'pruned {name}'] = model(x)
    return results


def main() -> None:
    client, path, library = sys.argv[1:]
    if library == 'zoo':
        import zoo
        zoo.compat.install_as_timm()
    torch.set_num_threads(1)
    results = globals()[client]()
    if library == 'zoo':
        timms = [m.__name__ for m in list(sys.modules.values()) if '/timm/' in (getattr(m, '__file__', '') or '')]
        assert not timms, f'these modules of timm itself were imported: {timms}'
        assert type(sys.modules['timm']).__module__ == 'zoo.compat.modules'
    torch.save(detached(results), path)


def detached(value: Any) -> Any:
    """Tensors without their history, in lists and dictionaries of any depth."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: detached(item) for key, item in value.items()}
    return [detached(item) for item in value] if isinstance(value, (list, tuple)) else value


if __name__ == '__main__':
    main()
