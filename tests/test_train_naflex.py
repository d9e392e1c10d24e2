"""Runs and evaluations on packed patches: batches within a budget, the same whatever workers and processes there are."""
from __future__ import annotations

import math
from collections import Counter
from typing import ClassVar

import pytest
import torch
from PIL import Image
from torch import nn
from train_runs import assert_same_run, state_of, stop_in, tiny_recipe

import zoo
from zoo.cli import main
from zoo.contract import ImageModel, Parts
from zoo.data import NaFlexMixup, create_dataset, pack_patches
from zoo.data.augment.variable import mix_middle
from zoo.data.patches import Patchify
from zoo.evaluation import evaluate
from zoo.spec import Family
from zoo.train import read_recipe
from zoo.train.loader import TrainLoader
from zoo.train.plan import dry_run
from zoo.train.trainer import Trainer, train

LENGTHS = (4, 9, 16)


class Embeds(nn.Module):
    """The colour and the place of each patch, whatever its size."""

    def __init__(self, patch_size: int, in_chans: int, width: int, any_size: bool, channels_last: bool) -> None:
        super().__init__()
        self.patch_size, self.enable_patch_interpolator, self.channels_last = patch_size, any_size, channels_last
        self.proj, self.place = nn.Linear(in_chans, width), nn.Linear(2, width)

    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        patches, side = x['patches'], self.patch_size
        assert self.enable_patch_interpolator or patches.shape[2:] == (side * side * self.proj.in_features,)
        if patches.ndim == 3:
            flat = (side, side, self.proj.in_features)
            patches = patches.unflatten(2, flat if self.channels_last else (flat[2], side, side))
        colours = patches.mean((2, 3) if self.channels_last else (3, 4))
        assert colours.is_meta or not colours[~x['patch_valid']].any()
        return self.proj(colours) + self.place(x['patch_coord'].float() / 16)


class Packed(ImageModel):
    """A network of a few hundred weights that takes packed patches, or images."""

    parts: ClassVar[Parts] = Parts(stem=('embeds',), stages=('stages.*',), classifier=('head',))

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, width: int = 8, patch_size: int = 8,
                 any_size: bool = False, channels_last: bool = True) -> None:
        super().__init__()
        self.in_chans, self.num_features = in_chans, width
        self.embeds = Embeds(patch_size, in_chans, width, any_size, channels_last)
        self.stages = nn.Sequential(nn.Sequential(nn.GELU(), nn.Linear(width, width)))
        self.feature_info = [dict(num_chs=width, reduction=patch_size, module='stages.0', stage=1)]
        self.build_head(width, num_classes, 'avg')

    def forward(self, x: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
        if isinstance(x, torch.Tensor):
            cut = Patchify(self.embeds.patch_size)
            x = pack_patches([cut(one) for one in x], math.prod(x.shape[2:]) // self.embeds.patch_size ** 2)
        valid = x['patch_valid'].unsqueeze(2)
        return self.head((self.stages(self.embeds(x)) * valid).sum(1) / valid.sum(1))


@pytest.fixture(scope='module', autouse=True)
def network():
    family = Family('mine.Packed', {'packed_8': {}}, {'packed_8': {'size': 32, 'first_conv': 'embeds.proj', 'classifier': 'head'}},
                    network=Packed)
    zoo.register_family(family)
    yield
    zoo.unregister_family(family)


def packed_recipe(images, **parts):
    chosen = dict(
        model=dict(model='packed_8', model_kwargs={}, img_size=None, drop_path=None, drop=None),
        data=dict(naflex_loader=True, naflex_train_seq_lens=LENGTHS, naflex_max_seq_len=12, batch_size=2))
    for part, values in parts.items():
        chosen[part] = chosen.get(part, {}) | values
    return tiny_recipe(images, **chosen)


def batches_of(recipe, epoch=0, workers=0, part=0, parts=1, start=0):
    trainer = Trainer(recipe, quiet=True)
    images = trainer.task.images(trainer.sources, trainer.config)
    loader = TrainLoader(images, recipe.data.batch_size, workers, part=part, parts=parts)
    return loader.steps, list(loader.batches(epoch, start))


def test_batches_hold_what_a_budget_of_patches_does(images):
    seen = Counter()
    for epoch in range(2):
        steps, batches = batches_of(packed_recipe(images), epoch)
        assert steps == len(batches)
        for batch in batches:
            count, _, length, _ = batch.levels.shape
            assert count == 2 * 16 // length and length in LENGTHS and batch.levels.patches.dtype == torch.uint8
            assert (batch.levels.valid.sum(1) > length / 2).all()                   # images fill their sequences
        seen.update(length for batch in batches for length in [batch.levels.shape[2]])
        names = [name for batch in batches for name in batch.names]
        assert len(set(names)) == len(names) > 20 - 2
    assert set(seen) == set(LENGTHS) and all(count % 2 == 0 for count in seen.values())     # each epoch has the same


def test_batches_depend_on_nothing_but_their_place(images):
    recipe = packed_recipe(images, data=dict(naflex_patch_sizes=(4, 8), naflex_patch_size_probs=(0.3, 0.7)),
                           model=dict(model_kwargs={'any_size': True}))
    _, whole = batches_of(recipe, epoch=1)
    _, again = batches_of(recipe, epoch=1, workers=2)
    _, rest = batches_of(recipe, epoch=1, start=2)
    for one, others in (*zip(whole, again, strict=True), *zip(whole[2:], rest, strict=True)):
        assert one.names == others.names and torch.equal(one.levels.patches, others.levels.patches)
    assert {batch.levels.patches.shape[2] for batch in whole} == {4, 8}
    _, other = batches_of(recipe, epoch=2)
    assert [b.names for b in whole] != [b.names for b in other]
    assert sorted(b.levels.shape[2] for b in whole) == sorted(b.levels.shape[2] for b in other)


def test_processes_have_batches_of_the_same_kind(images):
    recipe = packed_recipe(images, data=dict(batch_size=1))
    parts = [batches_of(recipe, part=part, parts=2)[1] for part in range(2)]
    assert [b.levels.shape for b in parts[0]] == [b.levels.shape for b in parts[1]]
    names = [name for part in parts for batch in part for name in batch.names]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match='fewer than one batch'):
        batches_of(packed_recipe(images, data=dict(batch_size=64)))


def test_patches_of_a_size_are_drawn_with_their_probability(images):
    recipe = packed_recipe(images, data=dict(naflex_patch_sizes=(4, 8), naflex_patch_size_probs=(0.25, 0.75), batch_size=1),
                           model=dict(model_kwargs={'any_size': True}))
    trainer = Trainer(recipe, quiet=True)
    order = trainer.task.images(trainer.sources, trainer.config).order(1, 1, 0, 1)
    kinds = Counter()
    for epoch in range(60):
        order.epoch = epoch
        kinds.update(places[0].kind.patch_size for places in order)
    assert kinds[4, 4] / kinds.total() == pytest.approx(0.25, abs=0.05) and set(kinds) == {(4, 4), (8, 8)}


@pytest.mark.parametrize('options', [
    {}, dict(data=dict(naflex_patch_sizes=(4, 8)), model=dict(model_kwargs={'any_size': True})),
    dict(augment=dict(mixup=0.8, cutmix=1.0, reprob=0.5), run=dict(grad_accum_steps=2)),
    dict(augment=dict(aug_repeats=2), model=dict(model_kwargs={'channels_last': False}))], ids=str)
def test_a_run_is_stopped_and_resumed_as_if_nothing_had_been(images, tmp_path, options):
    recipe = packed_recipe(images, **options)
    result = train(recipe, tmp_path / 'whole', quiet=True)
    assert [row['epoch'] for row in result.rows] == [0, 1, 2] and result.best > 0.4
    trainer = Trainer(recipe, tmp_path / 'parts', quiet=True)
    stop_in(trainer, trainer.updates + 2)
    assert trainer.run().stopped
    train(recipe, tmp_path / 'parts', resume=True, quiet=True)
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    assert state_of(tmp_path / 'whole')['progress']['epoch'] == 3


def test_gradients_are_those_of_the_images_that_a_batch_has(images):
    found = {}
    for scale in ('none', 'sqrt', 'linear'):
        trainer = Trainer(packed_recipe(images, loss=dict(naflex_loss_scale=scale)), quiet=True)
        found[scale] = {len(batch.names): trainer.task.weight(batch) for batch in trainer.loader.batches(0)}
    assert found == {'none': {2: 1, 3: 1, 8: 1}, 'sqrt': {2: 1, 3: 1.5 ** 0.5, 8: 2}, 'linear': {2: 1, 3: 1.5, 8: 4}}
    gradients = {}
    for scale in ('none', 'linear'):
        trainer = Trainer(packed_recipe(images, loss=dict(naflex_loss_scale=scale)), quiet=True)
        trainer.optimizer.zero_grad = lambda: None
        batch = max(trainer.loader.batches(0), key=lambda one: len(one.names))
        loss = trainer.step([batch], 0, 0, None)
        gradients[scale] = loss, trainer.model.head.weight.grad
    assert gradients['none'][0] == gradients['linear'][0]
    assert torch.allclose(gradients['none'][1] * 4, gradients['linear'][1])


def test_a_dry_run_shows_images_and_what_a_step_has(images, tmp_path, capsys):
    for number, kwargs in enumerate(({}, {'channels_last': False})):
        dry_run(Trainer(packed_recipe(images, model=dict(model_kwargs=kwargs)), quiet=True), tmp_path / f'{number}.png')
        said = capsys.readouterr().out
        assert 'an image of 12 patches' in said and 'of 8 images of 4 patches, or 3 images of 9 patches, or 2' in said
        assert Image.open(tmp_path / f'{number}.png').width > 300
    assert (tmp_path / '0.png').read_bytes() == (tmp_path / '1.png').read_bytes()


def test_evaluation_shows_whole_images(images):
    model = zoo.create_model('packed_8', num_classes=2).eval()
    source = create_dataset(images, 'val', class_map='sorted')
    config = zoo.data.resolve_model_data_config(model)
    whole = zoo.data.create_transform(**config, naflex=True, patch_size=8, max_seq_len=12, patchify=True)
    found = [evaluate(model, source, config, seq_len=12, batch_size=size, workers=workers, progress=False,
                      loss=nn.functional.cross_entropy) for size, workers in ((8, 0), (3, 2))]
    inputs = pack_patches([whole(Image.open(source.opened(n))) for n in range(len(source))], 12)
    targets = torch.tensor([source.target(n) for n in range(len(source))])
    expected = nn.functional.cross_entropy(model(inputs), targets)
    assert found[0].metrics['loss'] == pytest.approx(expected.item(), abs=1e-5)
    assert found[1].metrics == pytest.approx(found[0].metrics, abs=1e-6) and found[0].samples == len(source)
    with pytest.raises(ValueError, match="Pillow's.*got decoder='fast'"):
        evaluate(model, source, config, seq_len=12, decoder='fast')
    with pytest.raises(ValueError, match='MobileNetV3 takes images, not packed patches'):
        evaluate(zoo.create_model('lcnet_035', num_classes=2), source, config, seq_len=12)


def test_the_commands_take_timms_options(images, tmp_path, capsys):
    folder = tmp_path / 'runs' / 'one'
    common = ['--naflex-loader', '--naflex-max-seq-len', '12']
    train_words = ['--model', 'packed_8', '--naflex-train-seq-lens', '4', '9', '--naflex-patch-sizes', '4', '8',
                   '--naflex-patch-size-probs', '0.5', '0.5', '--naflex-loss-scale', 'sqrt', '--model-kwargs', 'any_size=true']
    assert main(['train', str(images), *common, *train_words, '--epochs', '1', '--warmup-epochs', '0', '-b', '2', '-j', '0',
                 '--output', str(tmp_path / 'runs'), '--experiment', 'one', '--device', 'cpu']) == 0
    assert '4 images of 4 patches, or 2 images of 9 patches' in capsys.readouterr().out
    table = tmp_path / 'table.csv'
    words = ['validate', str(images), '--split', 'val', '--checkpoint', str(folder / 'model_best.safetensors'), '-j', '0']
    for length in ('12', '20'):
        assert main([*words, '--naflex-loader', '--naflex-max-seq-len', length, '--results-file', str(table)]) == 0
    rows = zoo.tables.read(table)
    assert [row['top1'] for row in rows] and all('img_size' not in row or not row['img_size'] for row in rows)
    assert '"naflex_max_seq_len": 12' in rows[0]['options'] and rows[0]['gmacs'] is not None
    for wrong, message in ((['--naflex-max-seq-len', '12'], 'give --naflex-loader, too'),
                           ([*common, '--crop-pct', '0.9'], 'leave --crop-pct out'),
                           ([*common, '--decoder', 'fast'], "of Pillow's images alone")):
        assert main([*words, *wrong]) != 0
        assert message in capsys.readouterr().err


@pytest.mark.parametrize('words, message', [
    ('naflex_max_seq_len=12', 'needs data.naflex_loader: true'),
    ('naflex_loader=true naflex_patch_size_probs=[1]', 'needs data.naflex_patch_sizes'),
    ('naflex_loader=true naflex_patch_sizes=[8,16] naflex_patch_size_probs=[0.5,0.6]', 'their sum has to be 1'),
    ('naflex_loader=true naflex_patch_sizes=[8,16] naflex_patch_size_probs=[1]', 'one for each of data.naflex_patch_sizes'),
    ('naflex_loader=true naflex_train_seq_lens=[0]', 'has to be at least 1'),
    ('naflex_loader=true crop_pct=0.9', 'needs images of one size, data.naflex_loader: false'),
    ('naflex_loader=true aug_splits=3', 'needs images of one size'),
    ('naflex_loader=true kd_model_name=lcnet_035', 'needs images of one size'),
    ('naflex_loader=true dense.task=detect', 'needs a network for whole images')])
def test_keys_that_do_not_go_together(words, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(None, words.split())


def test_networks_that_cannot_take_the_patches(images):
    with pytest.raises(ValueError, match='takes images, not packed patches'):
        Trainer(packed_recipe(images, model=dict(model='lcnet_035')), quiet=True)
    with pytest.raises(ValueError, match='patches of 8x8 alone.*enable_patch_interpolator=true'):
        Trainer(packed_recipe(images, data=dict(naflex_patch_sizes=(4, 8))), quiet=True)


def test_mixing_keeps_sizes_and_shares_are_of_pixels():
    shapes = [(4 + 2 * n, 10 - n) for n in range(5)]
    colours = torch.arange(5.0)
    for options in (dict(cutmix_alpha=0), dict(mixup_alpha=0), dict(mixup_alpha=0, label_smoothing=0.1)):
        mixer = NaFlexMixup(num_classes=5, **options)
        mixed_once = False
        for seed in range(8):
            torch.manual_seed(seed)
            images = [torch.full((1, *shape), colour) for shape, colour in zip(shapes, colours.tolist())]
            found, targets = mixer(images, torch.arange(5))
            assert [one.shape[1:] for one in found] == shapes and all((one == c).all() for one, c in zip(images, colours))
            shares = (targets - 0.1 / 5) / 0.9 if 'label_smoothing' in options else targets
            means = torch.stack([one.mean() for one in found])
            assert torch.allclose(shares @ colours, means, atol=1e-4) and torch.allclose(targets.sum(1), torch.ones(5))
            assert ((shares > 1e-4).sum(1) <= 2).all() and (shares.amax(1) > 0.999).any()       # one of five has no partner
            mixed_once |= bool((shares.amax(1) < 0.99).any())
        assert mixed_once
    off = NaFlexMixup(num_classes=5, mixup_off_epoch=2)
    off.set_epoch(2)
    found, targets = off(images, torch.arange(5))
    assert torch.equal(targets, torch.eye(5)) and all(a is b for a, b in zip(found, images))
    with pytest.raises(ValueError, match='local_shuffle is at least 1'):
        NaFlexMixup(num_classes=2, local_shuffle=0)


def test_mixing_is_in_the_middle_as_timms():
    timm = pytest.importorskip('timm.data.naflex_mixup')
    images = [torch.rand(3, 8, 20), torch.rand(3, 11, 13)]
    theirs, kept, pairs = timm.mix_batch_variable_size([one.clone() for one in images], mixup_alpha=0.8, cutmix_alpha=0.0)
    assert pairs == {0: 1, 1: 0}
    share = 1 - (1 - kept[0]) * 160 / (8 * 13)                                  # of which 8 x 13 pixels lie over others
    for own, other in ((0, 1), (1, 0)):
        found, own_share = mix_middle(images[own], images[other], (8, 13), share, None)
        assert torch.allclose(found, theirs[own], atol=1e-5) and own_share == pytest.approx(kept[own])
